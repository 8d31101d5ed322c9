#include "megalith/data/gpt_dataset.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/data/blended_dataset.h"
#include "megalith/data/build_datasets.h"
#include "megalith/data/index_cache.h"
#include "megalith/data/indexed_dataset.h"
#include "megalith/data/indexed_dataset_builder.h"
#include "megalith/data/inspect.h"

#include "tests/data/scratch_directory.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<int64_t> values_of(const IndexArray& array) {
  std::vector<int64_t> values;
  for (int64_t i = 0; i < array.num_elements(); ++i) values.push_back(array[i]);
  return values;
}

/// Document d of the given lengths holds 10 d, 10 d + 1, ...
void write_documents(const std::string& prefix, const std::vector<int32_t>& lengths) {
  IndexedDatasetBuilder builder(prefix, TokenType::kU16);
  for (size_t d = 0; d < lengths.size(); ++d) {
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < lengths[d]; ++i) tokens.push_back(static_cast<int32_t>(10 * d) + i);
    builder.add_document(tokens);
  }
  builder.finish();
}

const std::vector<int32_t> kLengths{5, 3, 7, 4, 6};

TEST(GptIndices, MatchTheGoldenVectors) {
  GptIndexRequest request{.name = "t", .sequences = {0, 5}, .num_samples = 5, .seq_length = 8, .seed = 1234};
  const GptIndices five = build_gpt_indices(kLengths, request);
  EXPECT_THAT(values_of(five.document_index), ElementsAre(2, 2, 4, 1, 0, 3, 4, 0, 1, 3));
  EXPECT_THAT(values_of(five.sample_index), ElementsAre(0, 0, 1, 1, 2, 2, 4, 1, 6, 0, 7, 2, 9, 2));
  EXPECT_THAT(values_of(five.shuffle_index), ElementsAre(5, 0, 3, 4, 2, 1));

  request.num_samples = 4;  // the final epoch is shuffled apart
  const GptIndices four = build_gpt_indices(kLengths, request);
  EXPECT_THAT(values_of(four.document_index), ElementsAre(4, 0, 1, 2, 3, 3, 2, 1, 0, 4));
  EXPECT_THAT(values_of(four.sample_index), ElementsAre(0, 0, 1, 2, 3, 2, 4, 3, 6, 3, 8, 1, 9, 4));
  EXPECT_THAT(values_of(four.shuffle_index), ElementsAre(0, 2, 1, 5, 3, 4));
}

TEST(GptIndices, CountPartialSamplesInFloat32) {
  // 2^24 + 1 tokens for labels: float32 loses the last one, so that no partial sample is counted.
  const std::vector<int32_t> lengths{(1 << 24) + 2};
  const GptIndexRequest request{
      .name = "t", .sequences = {0, 1}, .seq_length = 1 << 12, .drop_last_partial_sequence = false};
  EXPECT_EQ(build_gpt_indices(lengths, request).num_samples(), 1 << 12);
  const std::vector<int32_t> few{(1 << 20) + 2};
  EXPECT_EQ(build_gpt_indices(few, request).num_samples(), (1 << 8) + 1);
}

TEST(GptIndices, NeedTokens) {
  const std::vector<int32_t> lengths{0, 4};
  GptIndexRequest request{.name = "prefix", .sequences = {0, 1}, .seq_length = 8};
  EXPECT_THAT([&] { build_gpt_indices(lengths, request); },
              ThrowsMessage<Error>(AllOf(HasSubstr("prefix"), HasSubstr("no tokens"))));
  request.sequences = {0, 2};
  EXPECT_THAT([&] { build_gpt_indices(lengths, request); },
              ThrowsMessage<Error>(HasSubstr("4 tokens, too few for one sample of seq_length 8")));
}

TEST(Split, RoundsHalvesToEven) {
  const auto shares = parse_split("1, 1, 2");
  EXPECT_EQ(split_sequences(*shares[0], 10).end, 2);    // 2.5
  EXPECT_EQ(split_sequences(*shares[1], 10).end, 5);    // 5.0
  EXPECT_EQ(split_sequences(*shares[0], 14).end, 4);    // 3.5
  EXPECT_EQ(split_sequences(*shares[2], 14).begin, 7);  // 7.0
  EXPECT_EQ(split_sequences(*shares[2], 14).end, 14);
  EXPECT_FALSE(parse_split("98,2")[2].has_value());
  EXPECT_FALSE(parse_split("1,0,1")[1].has_value());
  for (const char* wrong : {"", "a", "1,2,3,4", "1,-1", "0,0", "1,,2", "nan"}) {
    EXPECT_THROW(parse_split(wrong), UsageError) << wrong;
  }
}

TEST(Blend, FollowsTheGreedyRule) {
  const BlendIndices blend = weighted_blend(std::vector<double>{0.3, 0.5, 0.2}, 10);
  EXPECT_THAT(values_of(blend.dataset_index), ElementsAre(1, 0, 2, 1, 0, 1, 2, 1, 0, 1));
  EXPECT_THAT(values_of(blend.sample_index), ElementsAre(0, 0, 0, 1, 1, 2, 1, 3, 2, 4));
  const BlendIndices all = exhaustive_blend(std::vector<int64_t>{1, 3});
  EXPECT_THAT(values_of(all.dataset_index), ElementsAre(1, 0, 1, 1));
  const BlendSizes sizes = blend_sizes(std::vector<double>{0.3, 0.5, 0.2}, 1001);
  EXPECT_EQ(sizes.size, 301 + 501 + 201);
  EXPECT_THAT(sizes.requested, ElementsAre(303, 504, 203));  // ceil of 302.505, 503.505, 202.005
}

TEST(Blend, ReadsPathsAndWeights) {
  const auto parse = [](std::vector<std::string> arguments) { return parse_blend(arguments); };
  EXPECT_FALSE(parse({"a", "b", "c"}).weights.has_value());
  EXPECT_THAT(parse({"a", "b"}).prefixes, ElementsAre("a", "b"));
  EXPECT_THAT(*parse({"3", "a", "1e1", "b"}).weights, ElementsAre(3, 10));
  EXPECT_THAT(parse({"3", "a", "1e1", "b"}).prefixes, ElementsAre("a", "b"));
  EXPECT_THROW(parse({}), UsageError);
  EXPECT_THROW(parse({"3", "a", "x", "b"}), UsageError);
  EXPECT_THROW(parse({"x", "a", "3", "b"}), UsageError);
  EXPECT_THROW(parse({"0", "a"}), UsageError);
  EXPECT_THROW(parse({"-1", "a"}), UsageError);
}

TEST(GptDataset, ReadsAcrossDocumentsAndPads) {
  const ScratchDirectory directory;
  write_documents(directory / "a", kLengths);
  const auto source = std::make_shared<IndexedDataset>(directory / "a");
  const GptDataset data(source, SplitName::kTrain, {0, 1}, 5,
                        {.seq_length = 8, .vocab_size = 47, .use_cache = false});
  std::vector<int32_t> text(9);
  data.read(0, text);  // sample 5 of the golden vectors: from (7, 2) to (9, 2) of documents 0 1 3
  EXPECT_THAT(text, ElementsAre(2, 3, 4, 10, 11, 12, 30, 31, 32));
  EXPECT_THAT([&] { data.read(6, text); }, ThrowsMessage<Error>(HasSubstr("no sample 6")));

  const GptDataset partial(source, SplitName::kValid, {0, 0.2}, std::nullopt,
                           {.seq_length = 8, .drop_last_partial_sequence = false, .use_cache = false});
  partial.read(0, text);
  EXPECT_THAT(text, ElementsAre(0, 1, 2, 3, 4, kNoToken, kNoToken, kNoToken, kNoToken));

  const GptDataset small(source, SplitName::kTrain, {0, 1}, 3,
                         {.seq_length = 8, .vocab_size = 45, .use_cache = false});
  EXPECT_THAT(
      [&] {
        for (int64_t i = 0; i < small.size(); ++i) small.read(i, text);
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("document 4 holds the token id 45"), HasSubstr("0 to 44"))));
  EXPECT_THAT(
      [&] {
        GptDataset none(source, SplitName::kTest, {0.95, 1}, 1, {.seq_length = 8});
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("test split is empty"), HasSubstr("5 sequences"))));
}

TEST(IndexCache, FindsRepairsAndNeverMixes) {
  const ScratchDirectory directory;
  write_documents(directory / "a", kLengths);
  const GptDatasetOptions options{.seq_length = 8, .cache_path = directory / "cache"};
  const auto order = [&] {
    const GptDataset data(std::make_shared<IndexedDataset>(directory / "a"), SplitName::kTrain, {0, 1}, 5,
                          options);
    return values_of(data.indices().document_index);
  };
  const auto files = [&] {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory / "cache"))
      names.push_back(entry.path());
    return names;
  };
  const std::vector<int64_t> wanted = order();
  ASSERT_EQ(files().size(), 4u);
  for (const std::string& file : files()) {
    const std::string good = read_text_file(file);
    std::string bad = good;
    bad[bad.size() - 2] ^= 1;
    for (const std::string& content : {bad, good.substr(0, good.size() / 2), std::string(), good + "x"}) {
      write_bytes(file, content);
      EXPECT_EQ(order(), wanted) << file;
      EXPECT_EQ(read_text_file(file), good) << file;
    }
    std::filesystem::remove(file);
    EXPECT_EQ(order(), wanted) << file;
    EXPECT_EQ(read_text_file(file), good) << file;
  }
  // Other data under the same name must not be read in the old order.
  write_documents(directory / "a", {6, 3, 7, 4, 5, 9});
  EXPECT_NE(order(), wanted);
  EXPECT_EQ(files().size(), 8u);
}

TEST(BuildDatasets, SaysWhatIsMissing) {
  const ScratchDirectory directory;
  write_documents(directory / "a", kLengths);
  const auto rejects = [&](const DataConfig& config, const SplitSizes& sizes, const char* message) {
    EXPECT_THAT([&] { build_datasets(config, sizes, {}); }, ThrowsMessage<Error>(HasSubstr(message)));
  };
  const std::string a = directory / "a";
  rejects({}, {1, 0, 0}, "no data");
  rejects({.data_path = {a}, .mock_data = true}, {1, 0, 0}, "mock_data");
  rejects({.data_path = {a}, .train_data_path = {a}}, {1, 0, 0}, "data_path goes without");
  rejects({.data_path = {a}, .split = "1"}, {1, 1, 0}, "leaves nothing for the valid split, of which 1");
  rejects({.data_path = {"1", a}}, {std::nullopt, 0, 0}, "needs a number of train samples");
  rejects({.train_data_path = {a}, .seq_length = 8}, {1, 1, 0}, "valid_data_path");
  rejects({.data_path = {directory / "none"}}, {1, 0, 0}, "none.idx");
  rejects({.mock_data = true}, {1, 0, 0}, "needs a tokenizer");
  const Datasets own = build_datasets({.train_data_path = {a}, .valid_data_path = {"2", a}, .seq_length = 8},
                                      {5, std::nullopt, 0}, {.size = 50});
  EXPECT_EQ(own[0]->size(), 6);
  EXPECT_EQ(own[1]->size(), 3);
  EXPECT_EQ(own[2], nullptr);
}

TEST(DumpIndex, WritesTheThreeArrays) {
  const ScratchDirectory directory;
  write_documents(directory / "a", kLengths);
  const int64_t samples = dump_index({.data_path = directory / "a",
                                      .directory = directory / "dump",
                                      .split = "1",
                                      .num_samples = 5,
                                      .seq_length = 8});
  EXPECT_EQ(samples, 6);
  EXPECT_THAT(read_npy(directory / "dump/shuffle_index.npy").values<uint32_t>(),
              ElementsAre(5, 0, 3, 4, 2, 1));
  const NpyArray sample_index = read_npy(directory / "dump/sample_index.npy");
  EXPECT_THAT(sample_index.shape(), ElementsAre(7, 2));
  EXPECT_EQ(sample_index.values<int32_t>()[13], 2);
  EXPECT_EQ(read_npy(directory / "dump/document_index.npy").values<int32_t>()[2], 4);
}

}  // namespace
}  // namespace megalith
