// Random sequences of operations in random groups, and failures at random moments.
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/comm/run_ranks.h"

#include "tests/comm/rank_tensors.h"

namespace megalith {
namespace {

/// One random operation in `comm`, whose members draw the same numbers; false when its result is wrong.
bool random_operation_is_right(Communicator& comm, RankTensors& tensors, std::mt19937& shared) {
  const int64_t lengths[] = {0, 1, 17, 1000, 1024, 1030, 4099, 20000};
  const int64_t n = lengths[shared() % 8];
  const int root = static_cast<int>(shared() % static_cast<unsigned>(comm.size()));
  const int64_t salt = shared() % 100;
  const int64_t first = comm.rank() * n;
  const Tensor block = tensors.values<float>(comm.rank(), n, 0, salt);
  const Tensor whole = tensors.values<float>(comm.rank(), n * comm.size(), 0, salt);
  const auto sum_at = [&](int64_t i) {
    int64_t sum = 0;
    for (int r = 0; r < comm.size(); ++r) sum += value_of(r, i, salt);
    return static_cast<float>(sum);
  };
  bool is_right = true;
  switch (shared() % 7) {
    case 0:
      comm.all_reduce(block);
      for (int64_t i = 0; i < n; ++i) is_right &= block.data<float>()[i] == sum_at(i);
      break;
    case 1:
      comm.reduce_scatter(whole, block);
      for (int64_t i = 0; i < n; ++i) is_right &= block.data<float>()[i] == sum_at(first + i);
      break;
    case 2:
      comm.all_gather(block, whole);
      for (int64_t i = 0; i < n * comm.size(); ++i)
        is_right &=
            whole.data<float>()[i] == static_cast<float>(value_of(static_cast<int>(i / n), i % n, salt));
      break;
    case 3:
      comm.broadcast(block, root);
      for (int64_t i = 0; i < n; ++i)
        is_right &= block.data<float>()[i] == static_cast<float>(value_of(root, i, salt));
      break;
    case 4:
      comm.scatter(whole, block, root);
      for (int64_t i = 0; i < n; ++i)
        is_right &= block.data<float>()[i] == static_cast<float>(value_of(root, first + i, salt));
      break;
    case 5: {
      const int to = (comm.rank() + 1) % comm.size();
      const int from = (comm.rank() + comm.size() - 1) % comm.size();
      const Tensor out = tensors.filled<float>(n, 99);
      comm.send_recv(block, to, out, from);
      for (int64_t i = 0; i < n; ++i)
        is_right &= out.data<float>()[i] == static_cast<float>(value_of(from, i, salt));
      break;
    }
    default:
      comm.barrier();
  }
  return is_right;
}

TEST(Stress, RandomOperationsInRandomGroups) {
  for (const int num_ranks : {2, 3, 8}) {
    for (unsigned seed = 0; seed < 6; ++seed) {
      run_ranks(num_ranks, [&](Communicator& world) {
        RankTensors tensors;
        std::mt19937 shared(seed);
        for (int round = 0; round < 8; ++round) {
          const int num_groups = 1 + static_cast<int>(shared() % 3);
          const int64_t colour = world.rank() % num_groups;
          const auto group = world.split({.colour = colour, .key = static_cast<int64_t>(shared() % 2)});
          std::mt19937 of_group(static_cast<unsigned>(seed * 1000 + round * 10 + colour));
          for (int i = 0; i < 10; ++i) {
            ASSERT_TRUE(random_operation_is_right(*group, tensors, of_group)) << "seed " << seed;
            if (i % 5 == 4) {
              ASSERT_TRUE(random_operation_is_right(world, tensors, shared)) << "seed " << seed;
            }
          }
        }
      });
    }
  }
}

TEST(Stress, AFailureAtAnyMomentEndsAllRanks) {
  // The tensors of a failing rank are freed while its peers may be in the middle of the operation.
  for (unsigned seed = 0; seed < 100; ++seed) {
    const int num_ranks = 2 + static_cast<int>(seed % 7);
    try {
      run_ranks(num_ranks, [&](Communicator& world) {
        std::mt19937 own(seed * 100 + static_cast<unsigned>(world.rank()));
        std::mt19937 shared(seed);
        const auto pair = world.split({.colour = world.rank() / 2});
        const bool fails = world.rank() == static_cast<int>(seed) % num_ranks;
        const int last = fails ? static_cast<int>(own() % 20) : 1000000;
        for (int i = 0; i <= last; ++i) {
          RankTensors tensors;
          ASSERT_TRUE(random_operation_is_right(seed % 3 == 0 ? *pair : world, tensors, shared));
        }
        fail("rank {} gives up", world.rank());
      });
      FAIL() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()), fmt::format("rank {} gives up", seed % num_ranks));
    }
  }
}

}  // namespace
}  // namespace megalith
