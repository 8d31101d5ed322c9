#include "megalith/config/flags.h"

#include <cstdio>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/files.h"

#include "tests/config/sample_config.h"

namespace megalith::testing {
namespace {
using ::testing::ElementsAre;
using ::testing::HasSubstr;

void parse(Sample& sample, const std::vector<std::string>& arguments) {
  parse_flags(sample.options, arguments);
}
std::string error_of(const std::vector<std::string>& arguments) {
  Sample sample;
  return usage_error([&] { parse(sample, arguments); });
}

TEST(Flags, SpellingsOfAValue) {
  for (const char* flag : {"--hidden-size=96", "--hidden_size=96"}) {
    Sample sample;
    parse(sample, {flag});
    EXPECT_EQ(sample.model.hidden_size, 96);
  }
  Sample sample;
  parse(sample, {"--hidden_size", "32", "--lr", "1e-3", "--hidden-size", "48"});
  EXPECT_EQ(sample.model.hidden_size, 48) << "the last one counts";
  EXPECT_EQ(sample.data.lr, 1e-3);
  parse(sample, {"--learning-rate", "+5"});
  EXPECT_EQ(sample.data.lr, 5);
}

TEST(Flags, Switches) {
  Sample sample;
  parse(sample, {"--swiglu", "--no-add-bias-linear"});
  EXPECT_TRUE(sample.model.swiglu);
  EXPECT_FALSE(sample.model.add_bias_linear);
  parse(sample, {"--no_swiglu", "--add-bias-linear"});
  EXPECT_FALSE(sample.model.swiglu);
  EXPECT_TRUE(sample.model.add_bias_linear);
  parse(sample, {"--disable-bias-linear", "--swiglu=true"});
  EXPECT_FALSE(sample.model.add_bias_linear);
  EXPECT_TRUE(sample.model.swiglu);
  EXPECT_EQ(error_of({"--no-swiglu=true"}), "--no-swiglu: takes no value");
  EXPECT_EQ(error_of({"--swiglu=maybe"}), "--swiglu: 'maybe' is not allowed; it takes true or false");
}

TEST(Flags, ListsEndAtTheNextFlag) {
  Sample sample;
  parse(sample, {"--data-path", "0.3", "a", "0.7", "-b", "--betas", "1", "2", "--", "r.yaml", "--x"});
  EXPECT_THAT(sample.data.data_path, ElementsAre("0.3", "a", "0.7", "-b"));
  EXPECT_THAT(sample.data.betas, ElementsAre(1, 2));
  EXPECT_EQ(sample.command.recipe, "r.yaml");
  EXPECT_THAT(sample.command.rest, ElementsAre("--x"));
}

TEST(Flags, PositionalArguments) {
  Sample sample;
  parse(sample, {"r.yaml", "--lr", "1", "x", "y"});
  EXPECT_EQ(sample.command.recipe, "r.yaml");
  EXPECT_THAT(sample.command.rest, ElementsAre("x", "y"));
  parse(sample, {"--recipe", "named.yaml"});
  EXPECT_EQ(sample.command.recipe, "named.yaml");

  SampleModel only_flags;
  Options options;
  options.add({.name = "model"}, only_flags);
  const std::vector<std::string> arguments = {"stray"};
  EXPECT_EQ(usage_error([&] { parse_flags(options, arguments); }), "the argument 'stray' is one too many");
}

TEST(Flags, ErrorsNameTheFlagTheValueAndTheRule) {
  EXPECT_EQ(error_of({"--hiden-size", "1"}), "unknown flag '--hiden-size'; did you mean --hidden-size?");
  EXPECT_EQ(error_of({"--no-swigl"}), "unknown flag '--no-swigl'; did you mean --no-swiglu?");
  EXPECT_THAT(error_of({"--qqqqqqqqqqqqqqqq=1"}), HasSubstr("unknown flag '--qqqqqqqqqqqqqqqq'"));
  EXPECT_EQ(error_of({"--lr"}), "--lr: the value is missing; it takes a number > 0");
  EXPECT_EQ(error_of({"--lr", "--swiglu"}), "--lr: the value is missing; it takes a number > 0");
  EXPECT_EQ(error_of({"--data-path"}), "--data-path: the value is missing; it takes a list of texts");
  EXPECT_EQ(error_of({"--lr", "fast"}), "--lr: 'fast' is not allowed; it takes a number > 0");
  EXPECT_EQ(error_of({"--hidden_size=1.5"}), "--hidden_size: '1.5' is not allowed; it takes an integer >= 1");
  EXPECT_EQ(error_of({"--normalization", "x"}),
            "--normalization: 'x' is not allowed; it takes one of LayerNorm, RMSNorm");
}

TEST(Flags, ARejectedValueLeavesTheFieldAsItWas) {
  Sample sample;
  EXPECT_NE(usage_error([&] { parse(sample, {"--betas", "0.1", "bad"}); }), "");
  EXPECT_THAT(sample.data.betas, ElementsAre(0.9, 0.95));
  EXPECT_FALSE(sample.options.is_set("betas"));
}

TEST(Flags, TheCommandLineOverridesTheRecipe) {
  const std::filesystem::path path = std::filesystem::temp_directory_path() /
                                     ("megalith_flags_test_" + std::to_string(::getpid()) + ".yaml");
  write_text_file(path, "model:\n  hidden_size: 256\n  num_attention_heads: 8\ndata: {lr: 0.5}\n");
  Sample sample;
  const std::vector<std::string> arguments = {"--hidden-size", "512", path.string()};
  load_options(sample.options, arguments);
  EXPECT_EQ(sample.model.hidden_size, 512);
  EXPECT_EQ(sample.model.num_attention_heads, 8);
  EXPECT_EQ(sample.data.lr, 0.5);

  Sample wrong;
  const std::vector<std::string> indivisible = {path.string(), "--hidden-size", "500"};
  EXPECT_EQ(usage_error([&] { load_options(wrong.options, indivisible); }),
            "num_attention_heads (8) must divide hidden_size (500)");
  std::filesystem::remove(path);
}

TEST(Flags, RequiredArguments) {
  Sample sample;
  EXPECT_EQ(usage_error([&] { load_options(sample.options, {}); }), "RECIPE is missing: YAML file");
}

TEST(Flags, TwoFieldsOfOneNameAreOurError) {
  SampleModel a;
  SampleModel b;
  Options options;
  options.add({.name = "a"}, a);
  EXPECT_THROW(options.add({.name = "b"}, b), std::logic_error);
}

}  // namespace
}  // namespace megalith::testing
