// The order of operations against kernels, messages, and groups beside compute.
#include <gtest/gtest.h>

#include "megalith/ops/elementwise.h"
#include "megalith/ops/gemm.h"

#include "tests/multi_gpu/gpu_ranks.h"

namespace megalith {
namespace {

constexpr int64_t kLength = int64_t{1} << 22;

Tensor constant(const GpuRank& rank, float value, int64_t length = kLength) {
  return rank.exec.from_host<float>(std::vector<float>(static_cast<size_t>(length), value), {length});
}

void expect_all(const Tensor& x, float value) {
  for (const float element : to_vector<float>(x)) ASSERT_EQ(element, value);
}

// Some milliseconds of work on the compute stream.
class LongWork {
 public:
  explicit LongWork(Exec& exec)
      : exec_(&exec), a_(exec.zeros({4096, 4096}, DType::kF32)), c_(exec.zeros({4096, 4096}, DType::kF32)) {}
  void start() {
    for (int i = 0; i < 4; ++i) gemm({.a = a_, .b = a_, .c = c_}, *exec_);
  }

 private:
  Exec* exec_;
  Tensor a_, c_;
};

TEST(GpuStreams, AnInlineOperationStandsBetweenItsNeighbours) {
  MG_NEED_GPUS(2);
  on_gpus(2, [](const GpuRank& rank) {
    LongWork work(rank.exec);
    const Tensor x = constant(rank, 1), y = rank.exec.empty({kLength}, DType::kF32);
    for (int i = 0; i < 5; ++i) {
      if (rank.rank() == i % 2) work.start();  // one rank is late
      copy(x, y, rank.exec);
      rank.world.all_reduce(y);
      copy(y, x, rank.exec);
    }
    expect_all(x, 32);
  });
}

class GpuBeside : public testing::TestWithParam<BesideTransport> {};
INSTANTIATE_TEST_SUITE_P(All, GpuBeside,
                         testing::Values(BesideTransport::kCopyEngines, BesideTransport::kNccl),
                         [](const auto& instance) {
                           return instance.param == BesideTransport::kNccl ? "Nccl" : "CopyEngines";
                         });

TEST_P(GpuBeside, AnOperationIsDoneAfterWait) {
  MG_NEED_GPUS(2);
  const auto body = [](const GpuRank& rank) {
    const auto beside = rank.world.split({.name = "beside", .order = CommOrder::kBeside});
    LongWork work(rank.exec);
    for (int round = 0; round < 10; ++round) {
      Tensor x = constant(rank, 1);
      const Tensor sum = rank.exec.empty({kLength}, DType::kF32);
      copy(x, sum, rank.exec);
      work.start();
      copy(x, sum, rank.exec);  // the group has to wait for this
      beside->all_reduce(sum);
      const Tensor whole = rank.exec.empty({2 * kLength}, DType::kF32);
      beside->all_gather(x, whole);
      x = {};  // the group holds it; what is taken now is other memory
      const Tensor other = constant(rank, 7);
      work.start();
      beside->wait();
      const Tensor result = rank.exec.empty({kLength}, DType::kF32);
      copy(sum, result, rank.exec);
      expect_all(result, 2);
      expect_all(whole, 1);
      expect_all(other, 7);
    }
  };
  on_gpus(2, body, std::chrono::seconds(30), GetParam());
}

TEST(GpuStreams, SendsWaitForNobody) {
  MG_NEED_GPUS(2);
  const int n = cuda_device_count() >= 4 ? 4 : 2;
  on_gpus(n, [&](const GpuRank& rank) {
    const auto pp = rank.world.split({.name = "pp"});
    const int next = (rank.rank() + 1) % n, previous = (rank.rank() + n - 1) % n;
    // All send to all sides before anyone receives, and give the tensors back at once.
    for (int round = 0; round < 6; ++round) {
      for (int i = 0; i < 3; ++i) {
        pp->send(constant(rank, static_cast<float>(100 * rank.rank() + 10 * round + i)), next, "on");
        if (n > 2) pp->send(constant(rank, static_cast<float>(-100 * rank.rank() - i)), previous, "back");
      }
      for (int i = 0; i < 3; ++i) {
        const Tensor x = rank.exec.empty({kLength}, DType::kF32);
        pp->recv(x, previous, "on");
        expect_all(x, static_cast<float>(100 * previous + 10 * round + i));
        if (n == 2) continue;
        pp->recv(x, next, "back");
        expect_all(x, static_cast<float>(-100 * next - i));
      }
    }
  });
}

TEST(GpuStreams, AMessageBesideComputeIsThereAfterWait) {
  MG_NEED_GPUS(2);
  on_gpus(2, [](const GpuRank& rank) {
    const auto beside = rank.world.split({.name = "beside", .order = CommOrder::kBeside});
    LongWork work(rank.exec);
    const int peer = 1 - rank.rank();
    for (int round = 0; round < 6; ++round) {
      const bool sends = round % 3 != 1 || rank.rank() == 0, receives = round % 3 != 1 || rank.rank() == 1;
      if (rank.rank() == round % 2) work.start();  // one rank is late with what it sends
      if (sends) beside->send(constant(rank, static_cast<float>(100 * rank.rank() + round)), peer);
      const Tensor x = rank.exec.empty({kLength}, DType::kF32);
      if (receives) beside->recv(x, peer);
      work.start();
      const Tensor other = constant(rank, -1);  // not in the memory of what was sent
      beside->wait();
      if (receives) expect_all(x, static_cast<float>(100 * peer + round));
      expect_all(other, -1);
    }
  });
}

TEST(GpuStreams, MessagesThatDoNotMatchAreErrors) {
  MG_NEED_GPUS(2);
  EXPECT_THROW(on_gpus(2,
                       [](const GpuRank& rank) {
                         if (rank.rank() == 0) rank.world.send(constant(rank, 1, 8), 1);
                         if (rank.rank() == 1) rank.world.recv(constant(rank, 1, 9), 0);
                         rank.world.barrier();
                       }),
               Error);
}

TEST(GpuStreams, SplitsAreGroupsOfTheirColour) {
  MG_NEED_GPUS(4);
  on_gpus(4, [](const GpuRank& rank) {
    const int r = rank.rank();
    const auto row = rank.world.split({.colour = r / 2, .key = r, .name = "row"});
    const auto column = rank.world.split({.colour = r % 2, .key = -r, .name = "column"});
    const auto end =
        rank.world.split({.colour = r == 0 || r == 3 ? 0 : SplitOptions::kNoColour, .name = "end"});
    EXPECT_EQ(column->rank(), r >= 2 ? 0 : 1);
    EXPECT_EQ(end != nullptr, r == 0 || r == 3);
    const Tensor x = constant(rank, static_cast<float>(1 << r));
    row->all_reduce(x);
    expect_all(x, r < 2 ? 3 : 12);
    column->all_reduce(x);
    expect_all(x, 15);
    if (end) {
      end->all_reduce(x);
      expect_all(x, 30);
    }
    const auto alone = row->split({.colour = r, .name = "alone"});
    const Tensor all = rank.exec.zeros({kLength}, DType::kF32);
    alone->all_gather(constant(rank, 5), all);
    expect_all(all, 5);
    EXPECT_EQ(&row->host() != &*row, true);
    row->host().barrier();
  });
}

TEST(GpuStreams, ABarrierWaitsForTheWork) {
  MG_NEED_GPUS(2);
  on_gpus(2, [](const GpuRank& rank) {
    LongWork work(rank.exec);
    work.start();
    rank.world.barrier("here");
    const CudaMemory memory = cuda_memory(rank.rank());
    EXPECT_GT(memory.total_bytes, memory.free_bytes);
  });
}

}  // namespace
}  // namespace megalith
