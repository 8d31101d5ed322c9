#include "megalith/base/parallel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"

namespace megalith {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(ParallelFor, VisitsEveryIndexOnce) {
  for (const int num_threads : {0, 1, 2, 5}) {
    for (const int64_t count : {0, 1, 3, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
      parallel_for(count, num_threads, [&](int64_t i) { ++visits[static_cast<size_t>(i)]; });
      for (const auto& each : visits) EXPECT_EQ(each, 1);
    }
  }
}

TEST(ParallelFor, ThrowsTheFirstErrorAndStops) {
  for (const int num_threads : {1, 4}) {
    std::atomic<int64_t> visited = 0;
    EXPECT_THAT(
        [&] {
          parallel_for(1000000, num_threads, [&](int64_t i) {
            ++visited;
            if (i == 10) fail("piece {} is broken", i);
          });
        },
        ThrowsMessage<Error>(HasSubstr("piece 10 is broken")));
    EXPECT_LT(visited, 1000000);
  }
}

TEST(HardwareThreads, IsAtLeastOne) {
  EXPECT_GE(hardware_threads(), 1);
}

}  // namespace
}  // namespace megalith
