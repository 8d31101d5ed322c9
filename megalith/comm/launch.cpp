#include "megalith/comm/launch.h"

#include "megalith/comm/mpi_launch.h"
#include "megalith/comm/run_ranks.h"
#include "megalith/core/has_cuda.h"

namespace megalith {

Launch find_launch(int num_threads) {
  const std::optional<MpiLaunch> mpi = detect_mpi_launch();
  if (!mpi || mpi->size == 1) return {.num_ranks = num_threads, .num_local = num_threads};
  if (num_threads != 1)
    throw UsageError(
        fmt::format("{} starts {} processes, each of which is one rank: {} rank threads in one of "
                    "them are not possible",
                    mpi->launcher, mpi->size, num_threads));
  return {.kind = LaunchKind::kMpi,
          .launcher = mpi->launcher,
          .num_ranks = mpi->size,
          .process_rank = mpi->rank,
          .local_rank = mpi->local_rank,
          .num_local = mpi->num_local};
}

void run_launched(const Launch& launch, std::chrono::milliseconds timeout,
                  const std::function<void(const LaunchedRank&)>& body) {
  if (launch.kind == LaunchKind::kMpi)
    return run_mpi_rank({.timeout = timeout}, [&](Communicator& host) { body({host, launch.local_rank}); });
  if (launch.num_ranks == 1) {
    const auto self = make_self_communicator();
    return body({*self, 0});
  }
  run_ranks({.num_ranks = launch.num_ranks, .timeout = timeout}, [&](Communicator& host) {
    body({host, host.rank()});
  });
}

RankWorld::RankWorld(Communicator& host, Exec& exec, const NcclOptions& options) : comm_(&host) {
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda() && host.size() > 1) {
      on_gpu_ = make_nccl_communicator(host, exec.cuda(), options);
      comm_ = on_gpu_.get();
    }
  }
}

}  // namespace megalith
