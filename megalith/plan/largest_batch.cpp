#include "megalith/plan/largest_batch.h"

#include <algorithm>

#include "megalith/base/text.h"
#include "megalith/parallel/mesh_shape.h"
#include "megalith/plan/layout_estimate.h"

namespace megalith {
namespace {

RankMemory fullest_rank(RunConfig config, int world, int64_t micro_batch_size) {
  config.train.global_batch_size = config.train.batch_size();
  config.train.micro_batch_size = micro_batch_size;
  return estimate_layout(config, world, find_cluster(cluster_names().front())).fullest();
}

}  // namespace

int64_t largest_micro_batch(const RunConfig& config, int world, const MemoryShortage& shortage) {
  const RankMemory planned = fullest_rank(config, world, config.train.micro_batch_size);
  const int64_t state = planned.total() - planned.activations;
  const double excess = std::max(
      1.0, static_cast<double>(shortage.wanted_bytes - state) / static_cast<double>(planned.activations));
  const int64_t per_rank =
      config.train.num_microbatches(mesh_shape(config.parallel, world).dp) * config.train.micro_batch_size;
  const int64_t size_now = config.train.micro_batch_size;
  for (int64_t size = size_now - 1; size > 0; --size) {
    // Pipeline schedules need multiples of some number of microbatches.
    if (per_rank % size != 0 || (config.parallel.pipeline_model_parallel_size > 1 && size_now % size != 0))
      continue;
    const RankMemory smaller = fullest_rank(config, world, size);
    if (static_cast<double>(state) + excess * static_cast<double>(smaller.activations) <=
        static_cast<double>(shortage.limit_bytes))
      return size;
  }
  return 0;
}

std::string batch_advice(const RunConfig& config, int world, const MemoryShortage& shortage) {
  const int64_t size = largest_micro_batch(config, world, shortage);
  if (size > 0)
    return fmt::format(
        "micro_batch_size {} is too large; {} is the largest that would fit (an estimate, as of `megalith "
        "plan`)",
        config.train.micro_batch_size, size);
  return fmt::format(
      "no micro_batch_size below {} would fit (an estimate, as of `megalith plan`); recompute_granularity, "
      "cpu_offloading_num_layers and the sizes of section parallel leave a rank less to hold",
      config.train.micro_batch_size);
}

}  // namespace megalith
