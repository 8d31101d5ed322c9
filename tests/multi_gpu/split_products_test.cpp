// Products in pieces whose rows the copy engines carry: what whole products with NCCL in line make.
#include <gtest/gtest.h>

#include "tests/autograd/split_case.h"
#include "tests/multi_gpu/gpu_ranks.h"

namespace megalith {
namespace {

using testing::SplitCase;
using testing::SplitOutcome;

constexpr int kRepeats = 3;  // memory that is given back too early shows when it is used again

std::vector<SplitCase> cases() {
  std::vector<SplitCase> all;
  for (const auto layer : {SplitCase::Layer::kColumn, SplitCase::Layer::kRow, SplitCase::Layer::kSwigluRow})
    for (const DType dtype : {DType::kF32, DType::kBF16})
      for (const bool is_deferred : {false, true})
        all.push_back({.layer = layer,
                       .dtype = dtype,
                       .is_deferred = is_deferred,
                       .tokens = 1024,
                       .hidden = 768,
                       .ffn = 512});
  return all;
}

// Terms after SwiGLU are no whole numbers, so the order of sums shows.
void expect_close(const std::vector<double>& actual, const std::vector<double>& expected, double allowed,
                  const std::string& what) {
  double worst = 0, largest = 0;
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i) {
    worst = std::max(worst, std::abs(actual[i] - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  EXPECT_LE(worst, allowed * largest) << what;
  EXPECT_GT(largest, 0) << what;
}

TEST(GpuSplitProducts, EqualWholeProducts) {
  for (const int num_ranks : {2, 3, 4}) {
    if (cuda_device_count() < num_ranks) continue;
    on_gpus(num_ranks, [](const GpuRank& rank) {
      const auto beside = rank.world.split({.name = "beside", .order = CommOrder::kBeside});
      for (SplitCase c : cases()) {
        const bool is_exact = c.layer != SplitCase::Layer::kSwigluRow;
        const double allowed = is_exact ? 0 : c.dtype == DType::kF32 ? 1e-5 : 2e-2;
        c.splits_products = false;
        const SplitOutcome expected = run_split_case(c, rank.world, *beside, rank.exec);
        c.splits_products = true;
        for (int repeat = 0; repeat < kRepeats; ++repeat)
          for (const auto& [name, values] : run_split_case(c, rank.world, *beside, rank.exec))
            expect_close(values, expected.at(name), allowed,
                         fmt::format("{}, layer {}, {}", name, static_cast<int>(c.layer), name_of(c.dtype)));
      }
    });
  }
}

}  // namespace
}  // namespace megalith
