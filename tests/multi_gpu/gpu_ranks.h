#pragma once
// defines: MG_NEED_GPUS, GpuRank, on_gpus

#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "megalith/comm/launch.h"
#include "megalith/comm/run_ranks.h"
#include "megalith/core/cuda/cuda_context.h"

/// Skips the test on a machine with fewer.
#define MG_NEED_GPUS(count)                                                                                 \
  do {                                                                                                      \
    if (::megalith::cuda_device_count() < (count))                                                          \
      GTEST_SKIP() << "needs " << (count) << " GPUs, this machine has " << ::megalith::cuda_device_count(); \
  } while (0)

namespace megalith {

/// One rank thread with a GPU: the groups of all ranks for tensors of the CPU and of the GPU.
struct GpuRank {
  Communicator& host;
  Communicator& world;
  Exec& exec;  ///< of the GPU
  Exec& cpu;

  int rank() const { return host.rank(); }
  /// The same values on the GPU.
  Tensor upload(const Tensor& x) const {
    const Tensor y = exec.empty(x.shape(), x.dtype());
    exec.upload({x.raw(), static_cast<size_t>(x.nbytes())}, y);
    return y;
  }
};

inline void on_gpus(int num_ranks, const std::function<void(const GpuRank&)>& body,
                    std::chrono::milliseconds timeout = std::chrono::seconds(30),
                    BesideTransport beside = BesideTransport::kCopyEngines) {
  run_ranks({.num_ranks = num_ranks, .timeout = timeout}, [&](Communicator& host) {
    Exec exec({.device = {DeviceKind::kCuda, host.rank()}, .num_threads = 1});
    Exec cpu({.num_threads = 1});
    const RankWorld world(host, exec, {.timeout = timeout, .beside = beside});
    world.run([&](Communicator& comm) {
      body({host, comm, exec, cpu});
      exec.synchronize();
    });
  });
}

}  // namespace megalith
