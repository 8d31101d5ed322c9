#include "megalith/comm/run_ranks.h"

#include <exception>
#include <numeric>
#include <system_error>
#include <thread>
#include <vector>

#include "megalith/comm/first_error.h"
#include "megalith/comm/thread_communicator.h"

namespace megalith {
namespace {

void run_rank(const std::shared_ptr<ThreadGroup>& group, int rank, FirstError& first_error,
              const std::function<void(Communicator&)>& body) {
  ThreadWorld& world = group->world();
  // What a rank throws after another has failed follows from that: results of a GPU whose operations were cut
  // short are of no meaning.
  const auto end = [&](const std::string& reason) {
    world.abort(rank, reason);
    if (world.failure()->rank == rank) first_error.keep(std::current_exception());
  };
  try {
    ThreadCommunicator comm(group, rank);
    body(comm);
  } catch (const PeerFailure&) {
    // Follows from what another rank keeps.
  } catch (const std::exception& error) {
    end(error.what());
  } catch (...) {
    end("an exception of an unknown type");
  }
  world.leave(rank);
}

}  // namespace

void run_ranks(const RankOptions& options, const std::function<void(Communicator&)>& body) {
  MG_CHECK(options.num_ranks >= 1, "the number of ranks is {}; at least 1 is needed", options.num_ranks);
  MG_CHECK(options.timeout.count() >= 0, "the time-out is {} ms; 0 or more is needed",
           options.timeout.count());
  std::vector<int> ranks(static_cast<size_t>(options.num_ranks));
  std::iota(ranks.begin(), ranks.end(), 0);
  auto world = std::make_shared<ThreadWorld>(
      ThreadWorld::Options{.num_ranks = options.num_ranks, .timeout = options.timeout});
  auto group = std::make_shared<ThreadGroup>(world, "world", ranks);
  world->add_group(group);

  FirstError first_error;
  {
    std::vector<std::jthread> threads;
    try {
      for (const int rank : ranks)
        threads.emplace_back([&, rank] { run_rank(group, rank, first_error, body); });
    } catch (const std::system_error& error) {
      world->abort(static_cast<int>(threads.size()), fmt::format("cannot start thread {} of {}: {}",
                                                                 threads.size(), ranks.size(), error.what()));
    }
  }
  first_error.rethrow();
  if (const auto failure = world->failure()) fail("rank {} aborted: {}", failure->rank, failure->reason);
}

}  // namespace megalith
