#pragma once
// defines: kHfModels, HfGolden, load_hf_golden, hf_random_words, hf_weight, HfDirectoryTest

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "megalith/base/files.h"
#include "megalith/io/safetensors.h"

namespace megalith {

/// Those of tests/data/hf.
inline constexpr std::array kHfModels = {"llama",          "llama3_tied", "llama_bias",   "mistral",
                                         "mistral_window", "qwen2",       "qwen2_window", "qwen3",
                                         "qwen3_moe",      "mixtral",     "gpt2"};

/// splitmix64(fnv1a64(name) + i), as tools/golden_hf_llama.py draws them.
inline std::vector<uint64_t> hf_random_words(std::string_view name, int64_t count) {
  uint64_t state = 0xCBF29CE484222325u;
  for (const char c : name) state = (state ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  std::vector<uint64_t> words;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t z = state + static_cast<uint64_t>(i) + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    words.push_back(z ^ (z >> 31));
  }
  return words;
}

/// The weights that the golden numbers were made with.
inline std::vector<float> hf_weight(const std::string& name, const Shape& shape) {
  const bool is_norm = name.find("norm") != std::string::npos || name.find(".ln_") != std::string::npos;
  const double scale = shape.rank() > 1 ? 0.15 : 0.3;
  const double offset = is_norm && name.ends_with("weight") ? 1 : 0;
  std::vector<float> values;
  for (const uint64_t word : hf_random_words(name, shape.numel())) {
    const double unit = static_cast<double>(word >> 11) * 0x1p-53;
    values.push_back(static_cast<float>(scale * (2 * unit - 1) + offset));
  }
  return values;
}

struct HfGolden {
  std::filesystem::path directory;  ///< config.json, logits.npy
  nlohmann::json report;            ///< golden.json
  std::vector<TensorInfo> tensors;  ///< of the model, f32
};

inline HfGolden load_hf_golden(const std::string& model) {
  HfGolden golden{std::filesystem::path(MG_TEST_DATA) / "hf" / model, {}, {}};
  golden.report = nlohmann::json::parse(read_text_file(golden.directory / "golden.json"));
  for (const auto& item : golden.report.at("shapes").items()) {
    golden.tensors.push_back({item.key(), DType::kF32, Shape(item.value().get<std::vector<int64_t>>())});
  }
  return golden;
}

/// Makes Hugging Face directories from the hash.
class HfDirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    std::string name = fmt::format("mg_{}_{}_{}", test->test_suite_name(), test->name(), getpid());
    for (char& c : name) c = c == '/' ? '_' : c;
    root_ = std::filesystem::temp_directory_path() / name;
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  static void write_tensors(const std::filesystem::path& path, const std::vector<TensorInfo>& tensors) {
    SafetensorsWriter writer(path, tensors, {{"format", "pt"}});
    for (const TensorInfo& tensor : tensors) {
      const std::vector<float> values = hf_weight(tensor.name, tensor.shape);
      writer.add(std::as_bytes(std::span(values)));
    }
    writer.commit();
  }

  std::filesystem::path make_directory(const HfGolden& golden) const {
    const std::filesystem::path directory = root_ / "hf";
    std::filesystem::create_directories(directory);
    write_text_file(directory / "config.json", read_text_file(golden.directory / "config.json"));
    write_tensors(directory / "model.safetensors", golden.tensors);
    return directory;
  }

  std::filesystem::path root_;
};

}  // namespace megalith
