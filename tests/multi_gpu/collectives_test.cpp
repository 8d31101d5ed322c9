// Every collective on GPUs against rank threads on the CPU. The values are small integers and the numbers of
// ranks powers of two: sums and averages are exact in every dtype, whatever their order.
#include <gtest/gtest.h>

#include "tests/comm/rank_tensors.h"
#include "tests/multi_gpu/gpu_ranks.h"

namespace megalith {
namespace {

constexpr int64_t kLengths[] = {0, 1, 3, 1025, 300001};

template <class T>
class GpuCollectives : public testing::Test {};
using Types = testing::Types<double, float, bf16, f16, int64_t, int32_t>;
TYPED_TEST_SUITE(GpuCollectives, Types);

// What a rank does with either group; returns what it got.
using Work = std::function<std::vector<Tensor>(Communicator&, const std::function<Tensor(const Tensor&)>&)>;

void expect_same_bits(const Tensor& on_gpu, const Tensor& on_cpu, const std::string& what) {
  std::vector<std::byte> staging;
  const std::span<const std::byte> bytes = bytes_on_host(on_gpu, staging);
  ASSERT_EQ(bytes.size(), static_cast<size_t>(on_cpu.nbytes())) << what;
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), on_cpu.raw())) << what;
}

void compare(const GpuRank& rank, const std::string& what, const Work& work) {
  const std::vector<Tensor> expected = work(rank.host, [&](const Tensor& x) {
    const Tensor y = rank.cpu.empty(x.shape(), x.dtype());
    std::copy(x.raw(), x.raw() + x.nbytes(), y.raw());
    return y;
  });
  const std::vector<Tensor> actual = work(rank.world, [&](const Tensor& x) { return rank.upload(x); });
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i)
    expect_same_bits(actual[i], expected[i], what + ", result " + std::to_string(i));
}

template <class T>
std::vector<ReduceOp> ops_of() {
  if (std::is_integral_v<T>) return {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin};
  return {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin, ReduceOp::kAvg};
}

TYPED_TEST(GpuCollectives, EqualThoseOfTheCpu) {
  using T = TypeParam;
  for (const int num_ranks : {2, 4}) {
    if (cuda_device_count() < num_ranks) continue;
    on_gpus(num_ranks, [](const GpuRank& rank) {
      RankTensors make;
      const int own = rank.rank();
      const int n = rank.host.size();
      for (const int64_t length : kLengths) {
        const Tensor block = make.values<T>(own, length);
        const Tensor blocks = make.values<T>(own, length * n);
        const Tensor empty = make.filled<T>(length, 99);
        const Tensor empties = make.filled<T>(length * n, 99);
        const auto own_part = [&](const Tensor& whole) {
          return whole.slice(0, own * length, (own + 1) * length);
        };
        for (const ReduceOp op : ops_of<T>()) {
          compare(rank, fmt::format("all_reduce {}", name_of(op)), [&](Communicator& comm, const auto& put) {
            const Tensor x = put(block);
            comm.all_reduce(x, op);
            return std::vector{x};
          });
          compare(rank, fmt::format("reduce_scatter {}", name_of(op)),
                  [&](Communicator& comm, const auto& put) {
                    const Tensor out = put(empty), in_place = put(blocks);
                    comm.reduce_scatter(put(blocks), out, op);
                    comm.reduce_scatter(in_place, own_part(in_place), op);
                    return std::vector{out, own_part(in_place)};
                  });
        }
        compare(rank, "all_gather", [&](Communicator& comm, const auto& put) {
          const Tensor out = put(empties), in_place = put(blocks);
          comm.all_gather(put(block), out);
          comm.all_gather(own_part(in_place), in_place);
          return std::vector{out, in_place};
        });
        compare(rank, "all_to_all", [&](Communicator& comm, const auto& put) {
          const Tensor out = put(empties);
          comm.all_to_all(put(blocks), out);
          return std::vector{out};
        });
        for (int root = 0; root < n; ++root) {
          compare(rank, "from and to a root", [&](Communicator& comm, const auto& put) {
            const Tensor x = put(block), out = put(empty), all = put(empties);
            comm.broadcast(x, root);
            comm.gather(put(block), all, root);
            comm.scatter(put(blocks), out, root);
            return std::vector{x, out, all};
          });
        }
        compare(rank, "send_recv", [&](Communicator& comm, const auto& put) {
          const Tensor out = put(empty);
          comm.send_recv(put(block), (own + 1) % n, out, (own + n - 1) % n);
          return std::vector{out};
        });
      }
    });
  }
}

TEST(GpuCollectivesOfRows, AllToAllVEqualsThatOfTheCpu) {
  MG_NEED_GPUS(2);
  on_gpus(cuda_device_count() >= 4 ? 4 : 2, [](const GpuRank& rank) {
    RankTensors make;
    const int n = rank.host.size();
    // Rank a sends (3 a + b) % 4 rows to rank b: some send none.
    std::vector<int64_t> sent, received;
    int64_t in_rows = 0, out_rows = 0;
    for (int r = 0; r < n; ++r) {
      sent.push_back((3 * rank.rank() + r) % 4);
      received.push_back((3 * r + rank.rank()) % 4);
      in_rows += sent.back(), out_rows += received.back();
    }
    compare(rank, "all_to_all_v", [&](Communicator& comm, const auto& put) {
      const Tensor in = put(make.values<float>(rank.rank(), in_rows * 5)).view({in_rows, 5});
      const Tensor out = put(make.filled<float>(out_rows * 5, 99)).view({out_rows, 5});
      comm.all_to_all_v(in, sent, out, received);
      return std::vector{out};
    });
  });
}

}  // namespace
}  // namespace megalith
