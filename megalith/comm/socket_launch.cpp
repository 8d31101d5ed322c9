#include "megalith/comm/socket_launch.h"

#include <exception>

#include "megalith/base/log.h"
#include "megalith/comm/socket_communicator.h"
#include "megalith/comm/socket_server.h"

namespace megalith {

void run_socket_rank(const SocketLaunch& launch, const SocketOptions& options,
                     const std::function<void(Communicator&)>& body) {
  std::optional<SocketServer> server;
  if (launch.rank == 0) server.emplace(launch.port, launch.size);
  const std::string what = fmt::format("MASTER_ADDR={} MASTER_PORT={}", launch.address, launch.port);
  const auto world = std::make_shared<SocketWorld>(
      std::make_unique<SocketStream>(
          SocketStream::connect(launch.address, launch.port, options.connect_timeout, what)),
      SocketWorld::Options{.rank = launch.rank, .size = launch.size, .timeout = options.timeout});
  std::exception_ptr own_error;
  try {
    SocketCommunicator comm(world, "world", "world", launch.rank, launch.size);
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
  world->leave(options.grace);
  if (server) server->wait_until_left(options.grace);
  const auto failure = world->failure();
  if (!failure) return;
  log_error("{}", world->flight().report_of(launch.rank));
  if (failure->rank == launch.rank) {
    if (own_error) std::rethrow_exception(own_error);
    fail("rank {} aborted: {}", failure->rank, failure->reason);
  }
  throw PeerFailure(
      fmt::format("rank {} ends because rank {} failed: {}", launch.rank, failure->rank, failure->reason));
}

}  // namespace megalith
