// Orders of samples against those of Megatron Core: tests/data/golden_index.json, made by
// tools/golden_data_index.py.
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/data/blended_dataset.h"
#include "megalith/data/build_datasets.h"
#include "megalith/data/gpt_dataset.h"
#include "megalith/data/indexed_dataset.h"
#include "megalith/data/indexed_dataset_builder.h"
#include "megalith/data/mock_tokens.h"

#include "tests/data/scratch_directory.h"

namespace megalith {
namespace {

using nlohmann::json;

/// The checksum of the script.
class Checksum {
 public:
  void add(int64_t value) { hash_ = hash_ * 1000003 + static_cast<uint64_t>(value) + 1; }
  std::string text() const { return fmt::format("{:016x}", hash_); }

 private:
  uint64_t hash_ = 0;
};

void expect_array(const json& wanted, const IndexArray& array, const std::string& what) {
  EXPECT_EQ(wanted["dtype"], npy_type_name(array.type())) << what;
  EXPECT_EQ(wanted["shape"].get<std::vector<int64_t>>(), array.shape()) << what;
  const auto first = wanted["first"].get<std::vector<int64_t>>();
  for (size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i], array[static_cast<int64_t>(i)]) << what << i;
  Checksum checksum;
  for (int64_t i = 0; i < array.num_elements(); ++i) checksum.add(array[i]);
  EXPECT_EQ(wanted["checksum"], checksum.text()) << what;
}

void expect_dataset(const json& wanted, const SampleDataset* dataset) {
  ASSERT_EQ(wanted.is_null(), dataset == nullptr);
  if (dataset == nullptr) return;
  ASSERT_EQ(wanted["samples"], dataset->size());
  if (const auto* gpt = dynamic_cast<const GptDataset*>(dataset)) {
    expect_array(wanted["document_index"], gpt->indices().document_index, "document_index");
    expect_array(wanted["sample_index"], gpt->indices().sample_index, "sample_index");
    expect_array(wanted["shuffle_index"], gpt->indices().shuffle_index, "shuffle_index");
  } else {
    const auto& blend = dynamic_cast<const BlendedDataset&>(*dataset);
    expect_array(wanted["dataset_index"], blend.indices().dataset_index, "dataset_index");
    expect_array(wanted["dataset_sample_index"], blend.indices().sample_index, "dataset_sample_index");
  }
  Checksum checksum;
  std::vector<int32_t> text(static_cast<size_t>(dataset->text_length()));
  for (int64_t sample = 0; sample < dataset->size(); sample += wanted["stride"].get<int64_t>()) {
    dataset->read(sample, text);
    for (const int32_t token : text) checksum.add(token);
  }
  EXPECT_EQ(wanted["text_checksum"], checksum.text());
}

SplitSizes sizes_of(const json& wanted) {
  SplitSizes sizes;
  for (size_t i = 0; i < kNumSplits; ++i) {
    if (!wanted["sizes"][i].is_null()) sizes[i] = wanted["sizes"][i].get<int64_t>();
  }
  return sizes;
}

class GoldenIndex : public testing::Test {
 protected:
  void SetUp() override { golden_ = json::parse(read_text_file(MG_TEST_DATA "/golden_index.json")); }

  /// The data sets of the script, from the formulas there.
  void write_datasets() {
    for (const auto& [name, facts] : golden_["datasets"].items()) {
      const auto [count, longest, salt] =
          std::tuple(facts[0].get<int64_t>(), facts[1].get<int64_t>(), facts[2].get<int64_t>());
      IndexedDatasetBuilder builder(directory_ / name, TokenType::kU16);
      std::vector<int32_t> tokens;
      for (int64_t i = 0; i < count; ++i) {
        tokens.resize(static_cast<size_t>(1 + (i * i * 7919 + i * 104729 + salt * 31) % longest));
        for (size_t j = 0; j < tokens.size(); ++j) {
          tokens[j] = static_cast<int32_t>(1 + (i * 131 + static_cast<int64_t>(j) * 17 + salt) % 999);
        }
        builder.add_document(tokens);
      }
      builder.finish();
    }
  }
  std::string file_checksum(const std::string& name) const {
    Checksum checksum;
    for (const char c : read_text_file(directory_ / name)) checksum.add(static_cast<unsigned char>(c));
    return checksum.text();
  }

  ScratchDirectory directory_;
  json golden_;
};

TEST_F(GoldenIndex, FilesAreByteForByteThoseOfTheReference) {
  write_datasets();
  for (const auto& [name, facts] : golden_["datasets"].items()) {
    EXPECT_EQ(golden_["idx_checksum"][name], file_checksum(name + ".idx"));
    EXPECT_EQ(golden_["bin_checksum"][name], file_checksum(name + ".bin"));
  }
}

TEST_F(GoldenIndex, EveryCaseHasTheOrderOfTheReference) {
  write_datasets();
  ASSERT_GE(golden_["cases"].size(), 15u);
  for (const json& wanted : golden_["cases"]) {
    SCOPED_TRACE(wanted["data_path"].dump() + wanted["sizes"].dump());
    DataConfig config;
    for (const std::string argument : wanted["data_path"]) {
      config.data_path.push_back(golden_["datasets"].contains(argument) ? directory_ / argument : argument);
    }
    config.split = wanted["split"];
    config.seq_length = wanted["seq_length"];
    config.seed = wanted["seed"];
    config.data_cache_path = directory_ / "cache";
    const bool has_extra = wanted["add_extra_token_to_sequence"];
    const bool drop_last = wanted["drop_last_partial_validation_sequence"];
    if (has_extra && drop_last) {
      // The second time from the cache; once is enough for blends, which have many files.
      for (int turn = 0; turn < (config.data_path.size() == 1 ? 2 : 1); ++turn) {
        const Datasets datasets = build_datasets(config, sizes_of(wanted), {.size = 1000, .eod = 0});
        for (size_t i = 0; i < kNumSplits; ++i) expect_dataset(wanted["results"][i], datasets[i].get());
      }
      continue;
    }
    const auto source = std::make_shared<IndexedDataset>(config.data_path[0]);
    for (size_t i = 0; i < kNumSplits; ++i) {
      const auto split = static_cast<SplitName>(i);
      const GptDataset dataset(source, split, *parse_split(config.split)[i], sizes_of(wanted)[i],
                               {.seq_length = config.seq_length,
                                .seed = static_cast<uint32_t>(config.seed),
                                .add_extra_token_to_sequence = has_extra,
                                .drop_last_partial_sequence = split != SplitName::kValid || drop_last,
                                .use_cache = false});
      expect_dataset(wanted["results"][i], &dataset);
    }
  }
}

TEST_F(GoldenIndex, MockDataIsThatOfTheReference) {
  for (const json& wanted : golden_["mock_cases"]) {
    DataConfig config;
    config.mock_data = true;
    config.seq_length = wanted["seq_length"];
    config.seed = wanted["seed"];
    const Datasets datasets = build_datasets(config, sizes_of(wanted), {.size = 1000, .eod = 0});
    for (size_t i = 0; i < kNumSplits; ++i) expect_dataset(wanted["results"][i], datasets[i].get());
  }
}

}  // namespace
}  // namespace megalith
