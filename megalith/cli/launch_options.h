#pragma once
// defines: LaunchOptions, launch_of, device_of_rank, threads_of_rank

#include <string>

#include "megalith/comm/launch.h"

namespace megalith {

/// How many ranks a command has in each process.
struct LaunchOptions {
  int64_t ranks = 1;           ///< rank threads
  int64_t gpus = 1;            ///< a rank thread each
  int64_t rank_timeout = 600;  ///< seconds
};

/// The ranks of this process and of those that a launcher started beside it. Throws UsageError for both kinds
/// at once, and for more GPUs than there are.
Launch launch_of(const LaunchOptions& options);

/// The device of a rank, where `name` is --device: with several ranks on a node "cuda" and "auto" mean a GPU
/// each. Throws UsageError where the options contradict each other.
Device device_of_rank(const LaunchOptions& options, const std::string& name, const Launch& launch,
                      int local_rank);

/// Threads of a rank's CPU kernels, where --num-threads is `asked` (0: nothing asked): the ranks of a node
/// share its cores, unless the launcher has given each its own.
int threads_of_rank(const Launch& launch, int asked);

}  // namespace megalith
