#include "megalith/config/recipe.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/config/sample_config.h"

namespace megalith::testing {
namespace {
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string error_of(const std::string& text) {
  Sample sample;
  return usage_error([&] { parse_recipe(sample.options, text, "r.yaml"); });
}

TEST(Recipe, EveryTypeIsRead) {
  Sample sample;
  parse_recipe(sample.options, R"(
model:
  hidden_size: 128
  ffn_hidden_size: 512
  add_bias_linear: false
  swiglu: true
  normalization: RMSNorm
data:
  data_path: [a, "b c"]
  split: 8,1,1
  lr: 1e-4
  betas: [0.5, 1]
  cache: /tmp/x
  sizes: 7
)",
               "r.yaml");
  EXPECT_EQ(sample.model.hidden_size, 128);
  EXPECT_EQ(sample.model.ffn_hidden_size, 512);
  EXPECT_FALSE(sample.model.add_bias_linear);
  EXPECT_TRUE(sample.model.swiglu);
  EXPECT_EQ(sample.model.normalization, "RMSNorm");
  EXPECT_THAT(sample.data.data_path, ElementsAre("a", "b c"));
  EXPECT_EQ(sample.data.split, "8,1,1");
  EXPECT_EQ(sample.data.lr, 1e-4);
  EXPECT_THAT(sample.data.betas, ElementsAre(0.5, 1.0));
  EXPECT_EQ(sample.data.cache, "/tmp/x");
  EXPECT_THAT(*sample.data.sizes, ElementsAre(7));
  EXPECT_TRUE(sample.options.is_set("lr"));
  EXPECT_FALSE(sample.options.is_set("adam_beta1"));
}

TEST(Recipe, NullUnsetsAnOptionalAndIsAnErrorElsewhere) {
  Sample sample;
  sample.model.ffn_hidden_size = 3;
  parse_recipe(sample.options, "model: {ffn_hidden_size: null}", "r.yaml");
  EXPECT_FALSE(sample.model.ffn_hidden_size.has_value());
  EXPECT_EQ(error_of("model:\n  hidden_size:\n"),
            "r.yaml:2: hidden_size: has no value; it takes an integer >= 1");
}

TEST(Recipe, EmptyRecipesChangeNothing) {
  EXPECT_EQ(error_of(""), "");
  EXPECT_EQ(error_of("# only a comment\n"), "");
  EXPECT_EQ(error_of("model:\ndata:\n"), "");
}

TEST(Recipe, WrongValuesNameFileLineKeyValueAndRule) {
  EXPECT_EQ(error_of("model:\n  hidden_size: wide\n"),
            "r.yaml:2: hidden_size: 'wide' is not allowed; it takes an integer >= 1");
  EXPECT_EQ(error_of("model:\n  hidden_size: 0\n"),
            "r.yaml:2: hidden_size: '0' is not allowed; it takes an integer >= 1");
  EXPECT_EQ(error_of("model:\n\n  num_attention_heads: 1025\n"),
            "r.yaml:3: num_attention_heads: '1025' is not allowed; it takes an integer in [1, 1024]");
  EXPECT_EQ(error_of("data:\n  adam_beta1: 1.0\n"),
            "r.yaml:2: adam_beta1: '1.0' is not allowed; it takes a number in [0, 1)");
  EXPECT_EQ(error_of("data: {lr: 0}"), "r.yaml:1: lr: '0' is not allowed; it takes a number > 0");
  EXPECT_EQ(error_of("data: {lr: .nan}"), "r.yaml:1: lr: '.nan' is not allowed; it takes a number > 0");
  EXPECT_EQ(error_of("data: {lr: nan}"), "r.yaml:1: lr: 'nan' is not allowed; it takes a number > 0");
  EXPECT_EQ(error_of("model: {swiglu: yes}"),
            "r.yaml:1: swiglu: 'yes' is not allowed; it takes true or false");
  EXPECT_EQ(error_of("model: {normalization: rmsnorm}"),
            "r.yaml:1: normalization: 'rmsnorm' is not allowed; it takes one of LayerNorm, RMSNorm");
  EXPECT_EQ(error_of("model: {hidden_size: [1, 2]}"),
            "r.yaml:1: hidden_size: '[1, 2]' is not allowed; it takes an integer >= 1");
  EXPECT_EQ(error_of("data: {betas: [0.9, -1]}"),
            "r.yaml:1: betas: '-1' is not allowed; it takes a list of numbers >= 0");
  EXPECT_EQ(error_of("model: {hidden_size: 99999999999999999999}"),
            "r.yaml:1: hidden_size: '99999999999999999999' is not allowed; it takes an integer >= 1");
  EXPECT_EQ(error_of("model: {hidden_size: {a: 1}}"), "r.yaml:1: hidden_size: takes a value, not a mapping");
}

TEST(Recipe, UnknownNamesComeWithTheNearest) {
  EXPECT_EQ(error_of("model:\n  hiden_size: 5\n"),
            "r.yaml:2: unknown key 'hiden_size' in section model; did you mean hidden_size?");
  EXPECT_EQ(error_of("modle:\n  hidden_size: 5\n"), "r.yaml:1: unknown section 'modle'; did you mean model?");
  EXPECT_EQ(error_of("nonsense: {a: 1}"), "r.yaml:1: unknown section 'nonsense'; allowed: model, data");
  EXPECT_EQ(error_of("lr: 1"), "r.yaml:1: lr belongs in section data");
  EXPECT_EQ(error_of("model:\n  lr: 1\n"), "r.yaml:2: lr belongs in section data, not in model");
  EXPECT_EQ(error_of("model:\n  adam_beta: 1\n"),
            "r.yaml:2: unknown key 'adam_beta' in section model; did you mean adam_beta1 (section data)?");
  EXPECT_EQ(error_of("model:\n  zzzzzzzzzzzz: 1\n"), "r.yaml:2: unknown key 'zzzzzzzzzzzz' in section model");
  EXPECT_EQ(error_of("model:\n  output: x\n"), "r.yaml:2: output is an option of the command line only");
  EXPECT_EQ(error_of("model:\n  disable_bias_linear: true\n"),
            "r.yaml:2: disable_bias_linear is a flag; in a recipe write add_bias_linear: false");
}

TEST(Recipe, RepeatedKeysAreErrors) {
  EXPECT_EQ(error_of("data:\n  lr: 1\n  split: a\n  lr: 2\n"), "r.yaml:4: lr is given twice");
  EXPECT_EQ(error_of("data:\n  lr: 1\n  learning_rate: 2\n"), "r.yaml:3: lr is given twice");
  EXPECT_EQ(error_of("data: {lr: 1}\nmodel: {}\ndata: {split: a}\n"),
            "r.yaml:3: section data is given twice");
}

TEST(Recipe, MalformedYamlNamesTheLine) {
  EXPECT_THAT(error_of("model:\n  hidden_size: [1\n"),
              AllOf(StartsWith("r.yaml:"), HasSubstr("not valid YAML")));
  EXPECT_THAT(error_of("model:\n\thidden_size: 1\n"),
              AllOf(StartsWith("r.yaml:2:"), HasSubstr("not valid YAML")));
  EXPECT_EQ(error_of("- a\n- b\n"), "r.yaml:1: a recipe holds sections such as 'model:'");
  EXPECT_EQ(error_of("model: 5\n"), "r.yaml:1: section model must hold 'key: value' lines");
  EXPECT_THAT(error_of("model: {}\n---\ndata: {}\n"), HasSubstr("one YAML document"));
}

TEST(Recipe, MissingFileIsNamed) {
  Sample sample;
  try {
    read_recipe(sample.options, "/nonexistent/r.yaml");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("/nonexistent/r.yaml"));
  }
}

TEST(Recipe, ThePrintedConfigReadsBackToTheSameValues) {
  for (const YamlComments comments : {YamlComments::kNone, YamlComments::kHelp}) {
    Sample written;
    written.model.swiglu = true;
    written.data.lr = 0.1 + 0.2;
    written.data.data_path = {"plain", "with space", "a,b",    "[x]",   "true",     "",
                              "null",  "~",          "- dash", "#hash", "quote\"'", "line\nbreak",
                              "k: v",  "&a",         "*b",     "tab\t"};
    written.data.split = "969, 30, 1";
    written.data.cache = "null";
    written.data.betas = {1e-300, 1, 3e8};
    Sample read;
    parse_recipe(read.options, to_yaml(written.options, comments), "printed");
    EXPECT_EQ(read.data.data_path, written.data.data_path);
    EXPECT_EQ(read.data.lr, written.data.lr);
    EXPECT_EQ(read.data.betas, written.data.betas);
    EXPECT_EQ(read.data.split, written.data.split);
    EXPECT_EQ(read.data.cache, written.data.cache);
    EXPECT_FALSE(read.data.sizes.has_value());
    EXPECT_TRUE(read.model.swiglu);
    EXPECT_EQ(to_yaml(read.options), to_yaml(written.options));
  }
}

TEST(Recipe, RandomMutationsAreReadOrRejectedButNeverCrash) {
  Sample seed;
  seed.data.data_path = {"a", "b c"};
  const std::string text = to_yaml(seed.options, YamlComments::kHelp);
  const std::string alphabet = ":{}[]\",'#&*!|>-? \n\t0a\x80";
  std::mt19937 random(1);
  int rejected = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string mutated = text;
    for (int edit = 0; edit < 4; ++edit) {
      const size_t at = random() % mutated.size();
      switch (random() % 3) {
        case 0:
          mutated[at] = alphabet[random() % alphabet.size()];
          break;
        case 1:
          mutated.insert(at, 1, alphabet[random() % alphabet.size()]);
          break;
        default:
          mutated.erase(at, 1 + random() % 8);
      }
    }
    Sample sample;
    try {
      parse_recipe(sample.options, mutated, "m");
    } catch (const Error&) {
      ++rejected;
    }
  }
  EXPECT_GT(rejected, 1000);
}

}  // namespace
}  // namespace megalith::testing
