#pragma once
// defines: ParallelConfig

#include <cstdint>
#include <string>
#include <vector>

#include "megalith/config/field.h"

namespace megalith {

/// How a run is laid out over its ranks. Names and defaults are Megatron's.
struct ParallelConfig {
  int64_t tensor_model_parallel_size = 1;
  int64_t pipeline_model_parallel_size = 1;
  int64_t context_parallel_size = 1;
  int64_t expert_model_parallel_size = 1;
  int64_t expert_tensor_parallel_size = 0;  ///< 0: tensor_model_parallel_size
  bool sequence_parallel = false;
  bool tp_comm_overlap = true;  ///< Megatron's default is false
  bool tp_comm_fused_norm = false;
  std::string pipeline_schedule = "1f1b";
  int64_t virtual_pipeline_model_parallel_size = 0;  ///< 0: what the schedule needs
  std::string pipeline_model_parallel_layout;
  std::string cp_comm_type = "p2p";
  bool cp_comm_overlap = true;  ///< Megatron's ring always does that
  std::vector<int64_t> hierarchical_context_parallel_sizes;
  bool hybrid_context_parallel = false;
  int64_t max_seqlen_per_dp_cp_rank = 0;
  std::string data_parallel_sharding_strategy = "no_shard";
  int64_t num_distributed_optimizer_instances = 1;
  bool overlap_grad_reduce = true;   ///< Megatron's default is false; the numbers are the same
  bool overlap_param_gather = true;  ///< likewise
  bool grad_reduce_in_bf16 = false;
  int64_t ddp_bucket_size = 0;  ///< 0: a unit at a time; Megatron's default is max(40e6, 1e6 ranks)
  bool reshard_after_forward = true;
  bool moe_shared_expert_overlap = false;
  bool overlap_moe_expert_parallel_comm = false;
  std::string rank_order = "tp-cp-ep-dp-pp";

  /// "tp2 pp2", or "single" where every size is 1.
  std::string str() const;
};

void declare_fields(ParallelConfig& config, FieldList& fields);
void validate(const ParallelConfig& config);

}  // namespace megalith
