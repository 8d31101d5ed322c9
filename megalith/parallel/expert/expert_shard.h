#pragma once
// defines: ExpertShard, expert_shard

#include "megalith/base/error.h"
#include "megalith/parallel/mesh.h"

namespace megalith {

/// The experts of a layer that a rank holds: neighbours.
struct ExpertShard {
  int64_t first = 0, count = 0;
};

/// Throws UsageError where the ranks of the ep axis cannot share them evenly.
inline ExpertShard expert_shard(int64_t num_experts, const Mesh& mesh) {
  const int64_t ranks = mesh.size(Axis::kEp);
  if (num_experts % ranks != 0)
    throw UsageError(
        fmt::format("num_experts {} is not a multiple of expert_model_parallel_size {}", num_experts, ranks));
  const int64_t count = num_experts / ranks;
  return {mesh.rank(Axis::kEp) * count, count};
}

}  // namespace megalith
