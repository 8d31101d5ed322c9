#include "megalith/core/exec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace megalith {
namespace {

const Device kGpu{DeviceKind::kCuda, 0};

TEST(CudaExec, ADeviceThatIsNotThereNamesThoseThatAre) {
  EXPECT_THAT(
      [] {
        Exec exec({.device = {DeviceKind::kCuda, 99}});
      },
      ::testing::ThrowsMessage<Error>(
          ::testing::AllOf(::testing::HasSubstr("cuda:99"), ::testing::HasSubstr("cuda:0"))));
}

TEST(CudaExec, HostValuesTravelBothWays) {
  Exec exec({.device = kGpu});
  std::vector<float> values(10'000'003);  // more than both halves of the staging memory
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 65521);
  const auto count = static_cast<int64_t>(values.size());
  const Tensor tensor = exec.from_host(std::span<const float>(values), {count});
  EXPECT_EQ(tensor.device(), kGpu);
  std::vector<std::byte> staging;
  EXPECT_EQ(std::memcmp(bytes_on_host(tensor, staging).data(), values.data(), values.size() * 4), 0);
  const Tensor window = tensor.slice(0, 0, 12).view({3, 4}).transpose(0, 1).slice(0, 1, 3);
  EXPECT_EQ(to_vector<int32_t>(window), (std::vector<int32_t>{1, 5, 9, 2, 6, 10}));
  const Tensor zeros = exec.zeros({5}, DType::kI64);
  EXPECT_EQ(to_vector<int64_t>(zeros), std::vector<int64_t>(5, 0));
}

TEST(CudaExec, OutOfMemoryNamesTheOwners) {
  Exec exec({.device = kGpu});
  const OwnerScope scope(exec.ledger(), "a very large thing");
  const Tensor held = exec.empty({1 << 20}, DType::kU8);
  EXPECT_THAT([&] { exec.empty({int64_t{1} << 42}, DType::kU8); },
              ::testing::ThrowsMessage<Error>(::testing::AllOf(::testing::HasSubstr("out of memory"),
                                                               ::testing::HasSubstr("a very large thing"))));
  EXPECT_EQ(exec.ledger().current_bytes(), 1 << 20);
}

}  // namespace
}  // namespace megalith
