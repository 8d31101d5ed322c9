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

TEST(GpuSplitProducts, EqualWholeProducts) {
  for (const int num_ranks : {2, 3, 4}) {
    if (cuda_device_count() < num_ranks) continue;
    on_gpus(num_ranks, [](const GpuRank& rank) {
      const auto beside = rank.world.split({.name = "beside", .order = CommOrder::kBeside});
      for (SplitCase c : cases()) {
        c.splits_products = false;
        const SplitOutcome expected = run_split_case(c, rank.world, *beside, rank.exec);
        c.splits_products = true;
        for (int repeat = 0; repeat < kRepeats; ++repeat)
          expect_close(run_split_case(c, rank.world, *beside, rank.exec), expected, c,
                       fmt::format("layer {}", static_cast<int>(c.layer)));
      }
    });
  }
}

}  // namespace
}  // namespace megalith
