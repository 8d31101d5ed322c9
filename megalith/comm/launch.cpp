#include "megalith/comm/launch.h"

#include "megalith/comm/launch_variables.h"
#include "megalith/comm/mpi_launch.h"
#include "megalith/comm/run_ranks.h"
#include "megalith/core/has_cuda.h"

namespace megalith {

Launch find_launch(int num_threads) {
  Launch launch;
  if (const std::optional<MpiLaunch> mpi = detect_mpi_launch(); mpi && mpi->size > 1) {
    launch = {.kind = LaunchKind::kMpi,
              .launcher = mpi->launcher,
              .num_ranks = mpi->size,
              .process_rank = mpi->rank,
              .local_rank = mpi->local_rank,
              .num_local = mpi->num_local};
  } else if (const std::optional<SocketLaunch> sockets = detect_socket_launch();
             sockets && sockets->size > 1) {
    launch = {.kind = LaunchKind::kSockets,
              .launcher = fmt::format("the launcher ({} ranks meet at {})", sockets->size, sockets->address),
              .num_ranks = sockets->size,
              .process_rank = sockets->rank,
              .local_rank = sockets->local_rank,
              .num_local = sockets->num_local,
              .sockets = *sockets};
  } else {
    return {.num_ranks = num_threads, .num_local = num_threads};
  }
  if (num_threads != 1)
    throw UsageError(
        fmt::format("{} starts {} processes, each of which is one rank: {} rank threads in one of "
                    "them are not possible",
                    launch.launcher, launch.num_ranks, num_threads));
  return launch;
}

int gpu_of_rank(const Launch& launch, int local_rank, int num_visible) {
  const bool has_own =
      launch.kind != LaunchKind::kThreads && num_visible == 1 && !text_from("CUDA_VISIBLE_DEVICES").empty();
  return has_own ? 0 : local_rank;
}

void run_launched(const Launch& launch, std::chrono::milliseconds timeout,
                  const std::function<void(const LaunchedRank&)>& body) {
  if (launch.kind == LaunchKind::kMpi)
    return run_mpi_rank({.timeout = timeout}, [&](Communicator& host) {
      MG_CHECK(host.size() == launch.num_ranks,
               "{} says that this is rank {} of {}, MPI sees {}: start with `srun --mpi=pmix`, or set "
               "MASTER_ADDR and MASTER_PORT",
               launch.launcher, launch.process_rank, launch.num_ranks, host.size());
      body({host, launch.local_rank});
    });
  if (launch.kind == LaunchKind::kSockets)
    return run_socket_rank(launch.sockets, {.timeout = timeout}, [&](Communicator& host) {
      body({host, launch.local_rank});
    });
  if (launch.num_ranks == 1) {
    const auto self = make_self_communicator();
    return body({*self, 0});
  }
  run_ranks({.num_ranks = launch.num_ranks, .timeout = timeout}, [&](Communicator& host) {
    body({host, host.rank()});
  });
}

RankWorld::RankWorld(Communicator& host, Exec& exec, const NcclOptions& options)
    : host_(&host), comm_(&host) {
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda() && host.size() > 1) {
      on_gpu_ = make_nccl_communicator(host, exec, options);
      comm_ = on_gpu_.get();
    }
  }
}

void RankWorld::run(const std::function<void(Communicator&)>& body) const {
  try {
    body(*comm_);
  } catch (const PeerFailure&) {
    throw;
  } catch (const std::exception& error) {
    host_->abort(error.what());
    throw;
  }
}

}  // namespace megalith
