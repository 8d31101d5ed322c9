#include "megalith/config/help.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/text.h"

#include "tests/config/sample_config.h"

namespace megalith::testing {
namespace {
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Help, ShortListShowsMainOptionsAndCountsTheRest) {
  Sample sample;
  const std::string text =
      help_text(sample.options,
                {.command = "megalith sample", .summary = "Does it.", .examples = {"megalith sample r.yaml"}},
                HelpScope::kMain);
  EXPECT_THAT(text, HasSubstr("usage: megalith sample RECIPE [REST...] [OPTIONS]"));
  EXPECT_THAT(text, HasSubstr("Does it."));
  EXPECT_THAT(text, HasSubstr("--hidden-size N"));
  EXPECT_THAT(text, HasSubstr("width of the model [64]"));
  EXPECT_THAT(text, HasSubstr("--data-path TEXT..."));
  EXPECT_THAT(text, Not(HasSubstr("--lr ")));
  // 16 fields in all: 2 positional, 3 main.
  EXPECT_THAT(text, HasSubstr("11 more options: megalith sample --help-all"));
  EXPECT_THAT(text, HasSubstr("Example:\n  megalith sample r.yaml"));
}

TEST(Help, LongListShowsEveryOptionWithDefaultsAndChoices) {
  Sample sample;
  const std::string text =
      help_text(sample.options, {.command = "megalith sample", .width = 70}, HelpScope::kAll);
  for (const Section& section : sample.options.sections()) {
    for (const Field& field : section.fields) EXPECT_THAT(text, HasSubstr(field.info.help)) << field.name;
  }
  EXPECT_THAT(text, HasSubstr("--[no-]add-bias-linear"));
  EXPECT_THAT(text, HasSubstr("kind of norm: LayerNorm, RMSNorm"));
  EXPECT_THAT(text, HasSubstr("--output FILE"));
  for (const std::string& line : split(text, '\n')) EXPECT_LE(line.size(), 70u) << line;
}

struct Needed {
  int64_t lr = 0;
};
void declare_fields(Needed& c, FieldList& f) {
  f.add("lr", c.lr, {.help = "learning rate", .min = 1, .max = 4294967295.0, .required = true});
}

TEST(Help, WhatMustBeGivenHasNoDefault) {
  Needed needed;
  Options options;
  options.add({.name = "needed", .title = "Needed", .fields = {}, .validate = {}}, needed);
  EXPECT_THAT(help_text(options, {}, HelpScope::kMain), HasSubstr("learning rate\n"));
  EXPECT_THAT(markdown_table(options),
              HasSubstr("| `lr` | int |  | learning rate (an integer in [1, 4294967295]) |"));
}

TEST(Help, ExamplesAndSummaryAreBrokenAsAShellTakesThem) {
  Sample sample;
  const std::string text =
      help_text(sample.options,
                {.command = "x",
                 .summary = "One two three four five six seven eight nine ten eleven twelve.",
                 .examples = {"megalith sample recipe.yaml --text 'a b c d e f g' "
                              "--hidden-size 64 --swiglu"},
                 .width = 60},
                HelpScope::kMain);
  EXPECT_THAT(text, HasSubstr("eleven\ntwelve.\n"));
  EXPECT_THAT(text, HasSubstr("  megalith sample recipe.yaml --text 'a b c d e f g' \\\n"
                              "      --hidden-size 64 --swiglu\n"));
}

TEST(Help, DefaultsAreThoseOfTheStructNotThePresentValues) {
  Sample sample;
  sample.model.hidden_size = 7;
  EXPECT_THAT(help_text(sample.options, {}, HelpScope::kAll), HasSubstr("width of the model [64]"));
}

TEST(Help, MarkdownTableHasARowPerFieldAndEscapesBars) {
  Sample sample;
  const std::string table = markdown_table(sample.options);
  EXPECT_THAT(table, HasSubstr("### Model"));
  EXPECT_THAT(table, HasSubstr("| `hidden_size` | int | `64` | width of the model (an integer >= 1) |"));
  EXPECT_THAT(table, HasSubstr("also `--disable-bias-linear` (sets false)"));
  EXPECT_THAT(table, HasSubstr("where \\| how"));
  for (const Section& section : sample.options.sections()) {
    for (const Field& field : section.fields) EXPECT_THAT(table, HasSubstr("`" + field.name + "`"));
  }
}

}  // namespace
}  // namespace megalith::testing
