// The tests of the collectives under mpirun: every process runs all of them, in the same order.
#include <cstdio>

#include <gtest/gtest.h>

#include "megalith/comm/mpi_launch.h"

#include "tests/comm/launch.h"

namespace megalith {
namespace {

MpiSession* session = nullptr;

/// What ranks other than the first print: one report of all tests is enough.
class PrintFailures : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.failed())
      std::fprintf(stderr, "rank %d: %s:%d: %s\n", session->rank(), result.file_name(), result.line_number(),
                   result.message());
  }
};

}  // namespace

void launch(int num_ranks, const std::function<void(Communicator&)>& body) {
  if (num_ranks > session->size()) return;
  session->run({.timeout = std::chrono::minutes(1)}, [&](Communicator& world) {
    const bool takes_part = world.rank() < num_ranks;
    const auto group = world.split({.colour = takes_part ? 0 : SplitOptions::kNoColour, .name = "world"});
    if (group) body(*group);
  });
}

}  // namespace megalith

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  megalith::MpiSession session;
  megalith::session = &session;
  if (session.rank() > 0) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new megalith::PrintFailures);
  }
  return RUN_ALL_TESTS();
}
