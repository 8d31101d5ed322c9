#include "megalith/comm/socket_launch.h"

#include <exception>
#include <thread>
#include <vector>

#include "megalith/base/log.h"
#include "megalith/comm/first_error.h"
#include "megalith/comm/socket_communicator.h"
#include "megalith/comm/socket_server.h"

namespace megalith {
namespace {

void run_rank(int rank, const SocketLaunch& launch, const SocketOptions& options,
              const std::shared_ptr<LocalRanks>& local, const std::function<void(Communicator&)>& body) {
  const std::string what = fmt::format("MASTER_ADDR={} MASTER_PORT={}", launch.address, launch.port);
  SocketWorld::Options of_world{
      .rank = rank, .size = launch.size * launch.num_threads, .timeout = options.timeout};
  if (local) of_world.on_failure = [local](const SocketWorld::Failure& failure) { local->end(failure); };
  const auto world = std::make_shared<SocketWorld>(
      std::make_unique<SocketStream>(
          SocketStream::connect(launch.address, launch.port, options.connect_timeout, what), options.silence),
      of_world);
  if (local) local->connect(rank, world);
  std::exception_ptr own_error;
  try {
    SocketCommunicator comm(world, local);
    comm.barrier("start");
    body(comm);
  } catch (const PeerFailure&) {
    // Follows from what another rank threw.
  } catch (const std::exception& error) {
    own_error = std::current_exception();
    world->abort(error.what());
  } catch (...) {
    own_error = std::current_exception();
    world->abort("an exception of an unknown type");
  }
  if (local) local->leave(rank);
  world->leave(options.grace);
  const auto failure = world->failure();
  if (!failure) return;
  log_error("{}", world->flight().report_of(rank));
  if (const std::string in_memory = local ? local->report_of(rank) : ""; !in_memory.empty())
    log_error("between the threads of its process, {}", in_memory);
  if (failure->rank == rank) {
    if (own_error) std::rethrow_exception(own_error);
    fail("rank {} aborted: {}", failure->rank, failure->reason);
  }
  throw PeerFailure(
      fmt::format("rank {} ends because rank {} failed: {}", rank, failure->rank, failure->reason));
}

}  // namespace

void run_socket_ranks(const SocketLaunch& launch, const SocketOptions& options,
                      const std::function<void(Communicator&)>& body, SocketServer* server) {
  const int num_ranks = launch.size * launch.num_threads, first_rank = launch.rank * launch.num_threads;
  std::optional<SocketServer> own_server;
  if (launch.rank == 0 && server == nullptr)
    server = &own_server.emplace(launch.port, num_ranks, options.silence);
  FirstError own, of_peers;  // what follows from other ranks is thrown where no rank here failed itself
  const auto run = [&](int rank, const std::shared_ptr<LocalRanks>& local) {
    try {
      run_rank(rank, launch, options, local, body);
    } catch (const PeerFailure&) {
      of_peers.keep(std::current_exception());
    } catch (...) {
      own.keep(std::current_exception());
    }
  };
  if (launch.num_threads == 1) {
    run(first_rank, nullptr);
  } else {
    const auto local = std::make_shared<LocalRanks>(first_rank, launch.num_threads, options.timeout);
    std::vector<std::jthread> threads;
    for (int i = 0; i < launch.num_threads; ++i) threads.emplace_back([&, i] { run(first_rank + i, local); });
  }
  if (server != nullptr) server->wait_until_left(options.grace);
  own.rethrow();
  of_peers.rethrow();
}

}  // namespace megalith
