// Sums and gathers by the copy engines: the bits of rank threads on the CPU, whose sums have the same order.
#include <random>

#include <gtest/gtest.h>

#include "tests/multi_gpu/gpu_ranks.h"

namespace megalith {
namespace {

// Whole tensors of some MiB; the last is brought in several pieces, the odd ones are not aligned.
constexpr int64_t kLengths[] = {int64_t{1} << 20, (int64_t{1} << 20) + 12, (int64_t{1} << 20) + 3,
                                (int64_t{9} << 20) + 40};

template <class T>
class GpuPeerCollectives : public testing::Test {};
using Types = testing::Types<float, bf16, f16>;
TYPED_TEST_SUITE(GpuPeerCollectives, Types);

template <class T>
Tensor random_values(int rank, int64_t length, uint32_t seed, Exec& cpu) {
  std::mt19937 generator(seed * 100 + static_cast<uint32_t>(rank));
  std::vector<T> values(static_cast<size_t>(length));
  for (T& value : values) value = T(static_cast<float>(generator() % 20001) * 1e-3F - 10.0F);
  return cpu.from_host<T>(values, {length});
}

Tensor copy_of(const Tensor& x, Exec& cpu) {
  const Tensor y = cpu.empty(x.shape(), x.dtype());
  std::copy(x.raw(), x.raw() + x.nbytes(), y.raw());
  return y;
}

void expect_same_bits(const Tensor& on_gpu, const Tensor& on_cpu, const std::string& what) {
  std::vector<std::byte> staging;
  const std::span<const std::byte> bytes = bytes_on_host(on_gpu, staging);
  ASSERT_EQ(bytes.size(), static_cast<size_t>(on_cpu.nbytes())) << what;
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), on_cpu.raw())) << what;
}

TYPED_TEST(GpuPeerCollectives, HaveTheBitsOfTheCpu) {
  using T = TypeParam;
  for (const int num_ranks : {2, 3, 4}) {
    if (cuda_device_count() < num_ranks) continue;
    on_gpus(num_ranks, [](const GpuRank& rank) {
      const auto beside = rank.world.split({.name = "beside", .order = CommOrder::kBeside});
      const int n = rank.host.size(), own = rank.rank();
      uint32_t seed = 0;
      for (const int64_t length : kLengths) {
        for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kAvg}) {
          if (op == ReduceOp::kAvg && length > (int64_t{4} << 20)) continue;  // has taken its time
          const std::string what = fmt::format("{} ranks, {} elements, {}", n, length, name_of(op));
          const Tensor x = random_values<T>(own, length, ++seed, rank.cpu);
          const Tensor x_gpu = rank.upload(x), x_sum = copy_of(x, rank.cpu);
          beside->all_reduce(x_gpu, op);
          rank.host.all_reduce(x_sum, op);

          const Tensor blocks = random_values<T>(own, length * n, ++seed, rank.cpu);
          const Tensor part = rank.cpu.zeros({length}, x.dtype()), blocks_gpu = rank.upload(blocks);
          const Tensor in_place_gpu = rank.upload(blocks), part_gpu = rank.exec.zeros({length}, x.dtype());
          const Tensor own_part_gpu = in_place_gpu.slice(0, own * length, (own + 1) * length);
          beside->reduce_scatter(blocks_gpu, part_gpu, op);
          beside->reduce_scatter(in_place_gpu, own_part_gpu, op);
          rank.host.reduce_scatter(blocks, part, op);

          const Tensor whole = rank.cpu.zeros({length * n}, x.dtype());
          const Tensor whole_gpu = rank.exec.zeros({length * n}, x.dtype());
          const Tensor own_place_gpu = whole_gpu.slice(0, own * length, (own + 1) * length);
          beside->all_gather(rank.upload(x), whole_gpu);
          rank.host.all_gather(x, whole);
          beside->wait();
          expect_same_bits(x_gpu, x_sum, what + ", all_reduce");
          expect_same_bits(part_gpu, part, what + ", reduce_scatter");
          expect_same_bits(own_part_gpu, part, what + ", reduce_scatter in place");
          expect_same_bits(whole_gpu, whole, what + ", all_gather");
          beside->all_gather(own_place_gpu, whole_gpu);
          beside->wait();
          expect_same_bits(whole_gpu, whole, what + ", all_gather in place");
        }
      }
    });
  }
}

}  // namespace
}  // namespace megalith
