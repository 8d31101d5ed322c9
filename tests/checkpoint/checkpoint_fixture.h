#pragma once
// defines: CheckpointTest, TestStore, fill_store, contents_of

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "megalith/autograd/parameter.h"
#include "megalith/checkpoint/save.h"

namespace megalith {

/// A fresh directory for each test.
class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    std::string name = fmt::format("mg_{}_{}_{}", test->test_suite_name(), test->name(), getpid());
    std::replace(name.begin(), name.end(), '/', '_');
    root_ = std::filesystem::temp_directory_path() / name;
    std::filesystem::remove_all(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::filesystem::path root_;
};

/// Parameters of the shapes given, materialized.
struct TestStore : ParameterStore {
  TestStore(const std::vector<std::pair<std::string, Shape>>& parameters, DType dtype, Exec& exec) {
    for (const auto& [name, shape] : parameters) add({name, shape, Init::zeros()});
    materialize(exec, dtype);
  }
};

/// Values that depend on the iteration, exact in bf16.
inline void fill_store(const ParameterStore& store, int64_t iteration) {
  for (const auto& parameter : store.parameters()) {
    for (int64_t i = 0; i < parameter->numel(); ++i) {
      const auto value = static_cast<float>((iteration * 31 + i) % 128);
      if (store.dtype() == DType::kF32) parameter->data.data<float>()[i] = value;
      if (store.dtype() == DType::kBF16) parameter->data.data<bf16>()[i] = bf16(value);
    }
  }
}

inline CheckpointContents contents_of(const ParameterStore& store, int64_t iteration) {
  CheckpointContents contents{.iteration = iteration,
                              .config_yaml = "model:\n  num_layers: 1\n",
                              .state = {{"consumed_samples", std::to_string(iteration * 8)}},
                              .model = {},
                              .optimizer = {},
                              .tokenizer = {}};
  for (const auto& parameter : store.parameters())
    contents.model.push_back({parameter->name(), parameter->data});
  return contents;
}

}  // namespace megalith
