// Random sequences of operations in random groups.
#include <random>

#include <gtest/gtest.h>

#include "tests/comm/launch.h"
#include "tests/comm/random_operation.h"

namespace megalith {
namespace {

TEST(Stress, RandomOperationsInRandomGroups) {
  for (const int num_ranks : {2, 3, 8}) {
    for (unsigned seed = 0; seed < 6; ++seed) {
      launch(num_ranks, [&](Communicator& world) {
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

}  // namespace
}  // namespace megalith
