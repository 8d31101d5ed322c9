// Memory of the GPU: stretches that join, pages that move where they are needed.

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/core/exec.h"
#include "megalith/ops/elementwise.h"

#include "tests/base/scoped_variable.h"

namespace megalith {
namespace {

const Device kGpu{DeviceKind::kCuda, 0};
constexpr int64_t kMiB = 1 << 20;

Tensor filled(int64_t bytes, double value, Exec& exec) {
  const Tensor tensor = exec.empty({bytes / 4}, DType::kF32);
  for (const int64_t at : {int64_t{0}, bytes / 4 - 1024}) fill(tensor.slice(0, at, at + 1024), value, exec);
  return tensor;
}

void expect_filled(const Tensor& tensor, float value) {
  for (const int64_t at : {int64_t{0}, tensor.dim(0) - 1024})
    EXPECT_EQ(to_vector<float>(tensor.slice(0, at, at + 1024)), std::vector<float>(1024, value));
}

// Also where the other tests run on blocks of fixed sizes.
class CudaMemory : public testing::Test {
  ScopedVariable segments_{"MEGALITH_EXPANDABLE_SEGMENTS", "1"};
};

TEST_F(CudaMemory, FreedNeighboursServeALargerTensor) {
  Exec exec({.device = kGpu});
  Tensor a = filled(100 * kMiB, 1, exec), b = filled(60 * kMiB, 2, exec);
  const Tensor c = filled(100 * kMiB, 3, exec);
  const int64_t held = exec.pool().held_bytes();
  EXPECT_LT(held, 300 * kMiB);
  const std::byte* place = a.raw();
  a = b = {};
  const Tensor d = filled(160 * kMiB, 4, exec);
  EXPECT_EQ(d.raw(), place);
  EXPECT_EQ(exec.pool().held_bytes(), held);
  expect_filled(c, 3);
  expect_filled(d, 4);
}

TEST_F(CudaMemory, FreePagesMoveWhereABlockNeedsThem) {
  Exec exec({.device = kGpu});
  const int64_t eighth = cuda_memory(0).free_bytes / 8 / (64 * kMiB) * (64 * kMiB);
  std::vector<Tensor> parts;
  for (int i = 0; i < 7; ++i) parts.push_back(filled(eighth, i, exec));
  parts[1] = parts[3] = {};
  const Tensor large = filled(2 * eighth, 9, exec);
  EXPECT_LE(exec.pool().held_bytes(), 8 * eighth);
  for (const int i : {0, 2, 4, 5, 6}) expect_filled(parts[static_cast<size_t>(i)], static_cast<float>(i));
  expect_filled(large, 9);
  EXPECT_THAT([&] { filled(3 * eighth, 9, exec); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("out of memory")));
  parts.clear();
  exec.pool().trim();
  EXPECT_LT(exec.pool().held_bytes(), 2 * eighth + 128 * kMiB);
  expect_filled(large, 9);
}

TEST_F(CudaMemory, SizesThatVaryHoldLittleMoreThanThePeak) {
  Exec exec({.device = kGpu});
  std::mt19937 random(7);
  for (int step = 0; step < 20; ++step) {
    std::vector<Tensor> saved;
    for (int layer = 0; layer < 24; ++layer) {
      const auto rows = static_cast<int64_t>(500 + random() % 1000);
      exec.empty({rows, 64 << 10}, DType::kF32);
      saved.push_back(exec.empty({rows, 64 << 10}, DType::kF32));
      saved.push_back(exec.empty({1000, 16 << 10}, DType::kF32));
    }
    while (!saved.empty()) saved.pop_back();
  }
  EXPECT_LT(static_cast<double>(exec.pool().held_bytes()),
            1.1 * static_cast<double>(exec.ledger().peak_bytes()));
}

TEST_F(CudaMemory, BlocksOfFixedSizesServeTheirSizeAlone) {
  const ScopedVariable fixed("MEGALITH_EXPANDABLE_SEGMENTS", "0");
  Exec exec({.device = kGpu});
  const std::byte* place = filled(100 * kMiB, 1, exec).raw();
  const Tensor smaller = filled(60 * kMiB, 2, exec);
  EXPECT_GE(exec.pool().held_bytes(), 160 * kMiB);
  const Tensor again = filled(100 * kMiB, 3, exec);
  EXPECT_EQ(again.raw(), place);
  expect_filled(smaller, 2);
}

TEST_F(CudaMemory, AnUnknownKindOfBlocksIsRefused) {
  const ScopedVariable wrong("MEGALITH_EXPANDABLE_SEGMENTS", "yes");
  const auto use = [] {
    Exec exec({.device = kGpu});
    filled(kMiB, 1, exec);
  };
  EXPECT_THAT(use, testing::ThrowsMessage<Error>(
                       testing::HasSubstr("MEGALITH_EXPANDABLE_SEGMENTS=yes: unknown; allowed: 0, 1")));
}

}  // namespace
}  // namespace megalith
