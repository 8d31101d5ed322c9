// send, recv, send_recv.
#include <gtest/gtest.h>

#include "tests/comm/launch.h"
#include "tests/comm/rank_tensors.h"

namespace megalith {
namespace {

TEST(Messages, ArriveInOrderOfSendingPerPair) {
  launch(3, [](Communicator& comm) {
    RankTensors tensors;
    if (comm.rank() < 2) {
      for (int i = 0; i < 20; ++i) comm.send(tensors.values<float>(comm.rank(), 100 + i, 0, i), 2);
    } else {
      for (int from : {1, 0}) {
        for (int i = 0; i < 20; ++i) {
          const Tensor x = tensors.filled<float>(100 + i, 99);
          comm.recv(x, from);
          EXPECT_EQ(host<float>(x), host<float>(tensors.values<float>(from, 100 + i, 0, i)));
        }
      }
    }
    comm.barrier();  // counts of messages differ between the ranks, those of collectives do not
    const Tensor sum = tensors.filled<float>(1, 1);
    comm.all_reduce(sum);
    EXPECT_EQ(sum.data<float>()[0], 3.0f);
  });
}

TEST(Messages, RingPassesBlocksAround) {
  for (const int num_ranks : {1, 2, 3, 8}) {
    launch(num_ranks, [](Communicator& comm) {
      RankTensors tensors;
      Tensor held = tensors.values<bf16>(comm.rank(), 5000);
      Tensor next = tensors.filled<bf16>(5000, 99);
      const int to = (comm.rank() + 1) % comm.size();
      const int from = (comm.rank() + comm.size() - 1) % comm.size();
      for (int step = 1; step <= comm.size(); ++step) {
        comm.send_recv(held, to, next, from, "kv block");
        std::swap(held, next);
        const int origin = (comm.rank() + comm.size() - step) % comm.size();
        ASSERT_EQ(host<bf16>(held), host<bf16>(tensors.values<bf16>(origin, 5000)));
      }
    });
  }
}

TEST(Messages, PipelineOfEmptyAndFullTensors) {
  launch(4, [](Communicator& comm) {
    RankTensors tensors;
    for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{70000}}) {
      const Tensor x = tensors.values<int64_t>(0, n);
      if (comm.rank() > 0) comm.recv(x, comm.rank() - 1);
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(x.data<int64_t>()[i], value_of(0, i) + comm.rank());
      for (int64_t i = 0; i < n; ++i) ++x.data<int64_t>()[i];
      if (comm.rank() + 1 < comm.size()) comm.send(x, comm.rank() + 1);
    }
  });
}

}  // namespace
}  // namespace megalith
