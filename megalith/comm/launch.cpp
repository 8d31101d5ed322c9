#include "megalith/comm/launch.h"

#include <array>
#include <cstring>
#include <exception>

#include <unistd.h>

#include "megalith/comm/host_numbers.h"
#include "megalith/comm/launch_variables.h"
#include "megalith/comm/mpi_launch.h"
#include "megalith/comm/run_ranks.h"
#include "megalith/comm/socket_server.h"
#include "megalith/core/has_cuda.h"

namespace megalith {
namespace {

// This machine's name, cut off or filled up with zeros.
std::array<char, 256> host_name() {
  std::array<char, 256> name{};
  MG_CHECK(gethostname(name.data(), name.size() - 1) == 0, "this machine has no name");
  return name;
}

// Through MPI the processes say where process 0 is; then their rank threads meet there through sockets:
// threads call MPI by turns, and one that polls would hold up the others.
void run_threads_of_mpi(const Launch& launch, std::chrono::milliseconds timeout,
                        const std::function<void(const Communicator&)>& check,
                        const std::function<void(Communicator&)>& body) {
  std::exception_ptr error;
  try {
    run_mpi_rank({.timeout = timeout}, [&](Communicator& processes) {
      check(processes);
      SocketLaunch sockets{
          .rank = processes.rank(), .size = processes.size(), .num_threads = launch.num_threads};
      std::optional<SocketServer> server;
      if (sockets.rank == 0) server.emplace(0, launch.num_ranks);
      constexpr int64_t kNumbers = 1 + sizeof(decltype(host_name())) / sizeof(int64_t);
      std::array<int64_t, kNumbers> own{server ? server->port() : 0};
      const auto name = host_name();
      std::memcpy(&own[1], name.data(), name.size());
      const std::vector<int64_t> all = HostNumbers().gather(processes, own);
      const auto* names = reinterpret_cast<const char*>(all.data());
      const auto name_of = [&](int process) {
        return std::string_view(names + static_cast<size_t>(process) * sizeof own + sizeof(int64_t));
      };
      bool is_one_node = true;
      for (int p = 1; p < processes.size(); ++p) is_one_node = is_one_node && name_of(p) == name_of(0);
      sockets.port = static_cast<int>(all[0]);
      sockets.address = text_from("MASTER_ADDR");
      if (sockets.address.empty()) sockets.address = is_one_node ? "127.0.0.1" : name_of(0);
      try {
        run_socket_ranks(sockets, {.timeout = timeout}, body, server ? &*server : nullptr);
      } catch (const std::exception& failure) {
        error = std::current_exception();
        processes.abort(failure.what());  // the others may not have heard of it
      }
    });
  } catch (...) {
    if (!error) throw;
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace

Launch find_launch(int num_threads) {
  Launch launch;
  if (const std::optional<MpiLaunch> mpi = detect_mpi_launch(); mpi && mpi->size > 1) {
    launch = {.kind = LaunchKind::kMpi,
              .launcher = mpi->launcher,
              .num_ranks = mpi->size * num_threads,
              .num_threads = num_threads,
              .process_rank = mpi->rank,
              .local_rank = mpi->local_rank,
              .num_local = mpi->num_local * num_threads};
  } else if (const std::optional<SocketLaunch> sockets = detect_socket_launch();
             sockets && sockets->size > 1) {
    launch = {
        .kind = LaunchKind::kSockets,
        .launcher = fmt::format("the launcher ({} processes meet at {})", sockets->size, sockets->address),
        .num_ranks = sockets->size * num_threads,
        .num_threads = num_threads,
        .process_rank = sockets->rank,
        .local_rank = sockets->local_rank,
        .num_local = sockets->num_local * num_threads,
        .sockets = *sockets};
    launch.sockets.num_threads = num_threads;
  } else {
    return {.num_ranks = num_threads, .num_threads = num_threads, .num_local = num_threads};
  }
  return launch;
}

int gpu_of_rank(const Launch& launch, int local_rank, int num_visible) {
  const bool has_own = launch.kind != LaunchKind::kThreads && num_visible == launch.num_threads &&
                       !text_from("CUDA_VISIBLE_DEVICES").empty();
  return has_own ? local_rank % launch.num_threads : local_rank;
}

void run_launched(const Launch& launch, std::chrono::milliseconds timeout,
                  const std::function<void(const LaunchedRank&)>& body) {
  const auto run_local = [&](Communicator& host) {
    body({host, launch.local_rank * launch.num_threads + host.rank() % launch.num_threads});
  };
  if (launch.kind == LaunchKind::kMpi) {
    const auto check = [&](const Communicator& processes) {
      MG_CHECK(processes.size() * launch.num_threads == launch.num_ranks,
               "{} says that this is process {} of {}, MPI sees {}: start with `srun --mpi=pmix`, or set "
               "MASTER_ADDR and MASTER_PORT",
               launch.launcher, launch.process_rank, launch.num_ranks / launch.num_threads, processes.size());
    };
    if (launch.num_threads > 1) return run_threads_of_mpi(launch, timeout, check, run_local);
    return run_mpi_rank({.timeout = timeout}, [&](Communicator& host) {
      check(host);
      run_local(host);
    });
  }
  if (launch.kind == LaunchKind::kSockets)
    return run_socket_ranks(launch.sockets, {.timeout = timeout}, run_local);
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
