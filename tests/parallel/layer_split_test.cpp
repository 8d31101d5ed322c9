#include "megalith/parallel/pipeline/layer_split.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/parallel/pipeline/layout_text.h"

namespace megalith {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<int64_t> counts(const LayerSplit& split) {
  std::vector<int64_t> result;
  int64_t next = 0;
  for (const StageLayers& stage : split_layers(split)) {
    EXPECT_EQ(stage.first, next);
    next += stage.count;
    result.push_back(stage.count);
  }
  EXPECT_EQ(next, split.num_layers);
  return result;
}

TEST(LayerSplit, EvenSplitsAreEvenAndTheRestGoesToTheEnd) {
  EXPECT_THAT(counts({.num_layers = 16, .num_stages = 4}), ElementsAre(4, 4, 4, 4));
  EXPECT_THAT(counts({.num_layers = 10, .num_stages = 4}), ElementsAre(2, 2, 3, 3));
  const std::vector<StageLayers> stages = split_layers({.num_layers = 4, .num_stages = 2});
  EXPECT_EQ(stages[0], (StageLayers{.first = 0, .count = 2, .has_embedding = true}));
  EXPECT_EQ(stages[1], (StageLayers{.first = 2, .count = 2, .has_loss = true}));
}

// Megatron with both account_for_* options: (L + 2) / stages layers each, one fewer at both ends.
TEST(LayerSplit, EmbeddingAndLossCountAsLayers) {
  EXPECT_THAT(counts({.num_layers = 14, .num_stages = 4, .embedding_weight = 1, .loss_weight = 1}),
              ElementsAre(3, 4, 4, 3));
  EXPECT_THAT(counts({.num_layers = 13, .num_stages = 4, .loss_weight = 2.5}), ElementsAre(4, 4, 4, 1));
  EXPECT_THAT(counts({.num_layers = 2, .num_stages = 3, .loss_weight = 4}), ElementsAre(1, 1, 0));
}

TEST(LayerSplit, LayoutsAreReadAsMegatronDoes) {
  EXPECT_THAT(expand_layout("Et*3|(tt|)*2tL"), ElementsAre("Ettt", "tt", "tt", "tL"));
  EXPECT_THAT(expand_layout("E, t*2 | ((t|)*2t)*1 | m, L"), ElementsAre("Ett", "t", "t", "t", "mL"));
  const std::vector<StageLayers> stages =
      split_layers({.num_layers = 61, .num_stages = 32, .num_mtp_layers = 1, .layout = "Et*3|(tt|)*29,m|L"});
  EXPECT_EQ(stages[0], (StageLayers{.first = 0, .count = 3, .has_embedding = true}));
  EXPECT_EQ(stages[29], (StageLayers{.first = 59, .count = 2}));
  EXPECT_EQ(stages[30], (StageLayers{.first = 61, .count = 0, .num_mtp = 1}));
  EXPECT_EQ(stages[31], (StageLayers{.first = 61, .count = 0, .has_loss = true}));
}

TEST(LayerSplit, WhatDoesNotFitIsNamed) {
  const auto attempt = [](const std::string& layout) {
    return [layout] { split_layers({.num_layers = 4, .num_stages = 2, .layout = layout}); };
  };
  EXPECT_THAT(attempt("Ett|ttx"), ThrowsMessage<UsageError>(HasSubstr("column 7: 'x' is not one of")));
  EXPECT_THAT(attempt("E(tt|ttL"), ThrowsMessage<UsageError>(HasSubstr("a ) is missing")));
  EXPECT_THAT(attempt("Ett)|ttL"), ThrowsMessage<UsageError>(HasSubstr("column 4: the ) has no (")));
  EXPECT_THAT(attempt("Et*|ttL"), ThrowsMessage<UsageError>(HasSubstr("a number of at least 1 follows *")));
  EXPECT_THAT(attempt("Et*0|ttL"), ThrowsMessage<UsageError>(HasSubstr("at least 1")));
  EXPECT_THAT(attempt("Et*99999999999999999999|ttL"), ThrowsMessage<UsageError>(HasSubstr("at most")));
  EXPECT_THAT(attempt("(((((t*99)*99)*99)*99)*99)"), ThrowsMessage<UsageError>(HasSubstr("longer than")));
  EXPECT_THAT(attempt("Ett|tt|L"),
              ThrowsMessage<UsageError>(HasSubstr("it has 3 stages, the pipeline has 2")));
  EXPECT_THAT(attempt("Ett|ttt L"), ThrowsMessage<UsageError>(HasSubstr("5 layers (t), num_layers is 4")));
  EXPECT_THAT(attempt("tt|ttL"), ThrowsMessage<UsageError>(HasSubstr("begins with E")));
  EXPECT_THAT(attempt("Ett|Ett L"), ThrowsMessage<UsageError>(HasSubstr("begins with E")));
  EXPECT_THAT(attempt("Ett|tt"), ThrowsMessage<UsageError>(HasSubstr("ends with L")));
  EXPECT_THAT(attempt("tEt|ttL"), ThrowsMessage<UsageError>(HasSubstr("stage 0 has E behind t")));
  EXPECT_THAT(attempt("Ett|mttL"), ThrowsMessage<UsageError>(HasSubstr("stage 1 has t behind m")));
  EXPECT_THAT(attempt("Ett|ttmL"), ThrowsMessage<UsageError>(HasSubstr("1 multi-token prediction layers")));
  EXPECT_THAT(attempt("Ett|"), ThrowsMessage<UsageError>(HasSubstr("stage 1 is empty")));
  EXPECT_THAT([] { split_layers({.num_layers = 2, .num_stages = 4}); },
              ThrowsMessage<UsageError>(HasSubstr("2 over 4 pipeline stages leaves stage 0 without work")));
  EXPECT_THAT([] { split_layers({.num_layers = 2, .num_stages = 2, .loss_weight = -1}); },
              ThrowsMessage<UsageError>(HasSubstr("not 0 and -1")));
}

TEST(LayerSplit, RandomLayoutsAreReadOrRefused) {
  const std::string letters = "EtmL|()*, 0123x";
  std::mt19937 random(3);
  int num_read = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string layout;
    for (size_t i = random() % 16; i > 0; --i) layout += letters[random() % letters.size()];
    try {
      size_t size = 0;
      for (const std::string& stage : expand_layout(layout)) {
        EXPECT_EQ(stage.find_first_not_of("EtmL"), std::string::npos) << layout;
        size += stage.size() + 1;
      }
      EXPECT_LE(size, 100'001u);
      ++num_read;
    } catch (const UsageError&) {
    }
  }
  EXPECT_GT(num_read, 100);
}

}  // namespace
}  // namespace megalith
