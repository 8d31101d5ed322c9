#pragma once
// defines: MoeConfig

#include <cstdint>
#include <string>
#include <vector>

#include "megalith/config/field.h"

namespace megalith {

/// Mixtures of experts in a GPT. The recipe's keys are Megatron's names, as its defaults are: num_experts and
/// moe_..., which the members leave out.
struct MoeConfig {
  int64_t num_experts = 0;  ///< 0: dense
  std::string layer_freq = "1";
  int64_t ffn_hidden_size = 0;
  int64_t shared_expert_intermediate_size = 0;

  int64_t router_topk = 2;
  std::string router_score_function = "softmax";
  bool router_pre_softmax = false;
  int64_t router_num_groups = 0;
  int64_t router_group_topk = 0;
  double router_topk_scaling_factor = 0;  ///< 0: none
  bool router_enable_expert_bias = false;
  double router_bias_update_rate = 1e-3;
  std::string router_load_balancing_type = "aux_loss";
  double aux_loss_coeff = 0;
  double z_loss_coeff = 0;

  std::string token_dispatcher_type = "alltoall";
  double expert_capacity_factor = 0;  ///< 0: no token is dropped
  bool pad_expert_input_to_capacity = false;
  double expert_rank_capacity_factor = 0;  ///< 0: a rank's experts take all tokens
  std::string token_drop_policy = "probs";

  bool has_experts() const { return num_experts > 0; }
  /// Which of the layers have experts: layer_freq as Megatron reads it. A number f: those whose place divides
  /// by f. A list of 0 and 1, of which parts may be multiplied and added: ([0]*1+[1]*26). Throws UsageError.
  std::vector<bool> expert_layers(int64_t num_layers) const;
};

void declare_fields(MoeConfig& config, FieldList& fields);
/// Throws UsageError naming the keys, the values and the rule.
void validate(const MoeConfig& config, int64_t num_layers);

}  // namespace megalith
