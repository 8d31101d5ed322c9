#include "megalith/cli/launch_options.h"

#include <algorithm>
#include <thread>

#include "megalith/base/error.h"
#include "megalith/base/parallel.h"
#include "megalith/core/choose_device.h"
#include "megalith/core/cuda/cuda_context.h"
#include "megalith/core/has_cuda.h"

namespace megalith {

Launch launch_of(const LaunchOptions& options) {
  if (options.ranks > 1 && options.gpus > 1)
    throw UsageError("--ranks and --gpus both say how many ranks there are; --gpus puts each on a GPU");
  if constexpr (kHasCuda) {
    if (const int there = cuda_device_count(); options.gpus > std::max(1, there))
      throw UsageError(fmt::format("--gpus {}: this process can use {} GPU{}", options.gpus, there,
                                   there == 1 ? "" : "s"));
  }
  return find_launch(static_cast<int>(std::max(options.ranks, options.gpus)));
}

Device device_of_rank(const LaunchOptions& options, const std::string& name, const Launch& launch,
                      int local_rank) {
  Device device = choose_device(options.gpus > 1 && name == "auto" ? "cuda" : name);
  if (device.is_cpu()) {
    if (options.gpus > 1) throw UsageError(fmt::format("--gpus {} with --device cpu", options.gpus));
    return device;
  }
  if (launch.num_ranks == 1) return device;
  if (options.ranks > 1)
    throw UsageError(
        fmt::format("--ranks {} are rank threads on the CPU (--device cpu); --gpus {} puts each on "
                    "a GPU",
                    options.ranks, options.ranks));
  if (name.find(':') != std::string::npos)
    throw UsageError(fmt::format("--device {} is one GPU for {} ranks; --device cuda gives each its own",
                                 name, launch.num_ranks));
  if constexpr (kHasCuda) device.index = gpu_of_rank(launch, local_rank, cuda_device_count());
  return device;
}

int threads_of_rank(const Launch& launch, int asked) {
  if (launch.num_ranks == 1) return asked;
  const int sharers = std::max(1, launch.num_local);
  if (launch.kind == LaunchKind::kThreads)
    return std::max(1, (asked > 0 ? asked : hardware_threads()) / sharers);
  if (asked > 0) return asked;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, std::min(hardware_threads() / launch.num_threads, cores / sharers));
}

}  // namespace megalith
