#pragma once
// defines: sigmoid_experts, softmax_experts

#include <cstdint>
#include <string>

#include "megalith/models/gpt/gpt_config.h"

namespace megalith::testing {

/// DeepSeek-V3's form, every second layer: sigmoid scores, a bias on the choice, a loss by sequence, a shared
/// expert.
inline MoeConfig sigmoid_experts(int64_t width, int64_t shared_width) {
  MoeConfig c;
  c.num_experts = 8;
  c.layer_freq = "2";
  c.ffn_hidden_size = width;
  c.shared_expert_intermediate_size = shared_width;
  c.router_score_function = "sigmoid";
  c.router_enable_expert_bias = true;
  c.router_load_balancing_type = "seq_aux_loss";
  c.aux_loss_coeff = 0.01;
  c.z_loss_coeff = 0.001;
  return c;
}

/// Mixtral's form: softmax over the chosen, a loss by microbatch.
inline MoeConfig softmax_experts(int64_t width, const std::string& layers = "([0]*2+[1]*6)") {
  MoeConfig c;
  c.num_experts = 8;
  c.layer_freq = layers;
  c.ffn_hidden_size = width;
  c.aux_loss_coeff = 0.01;
  return c;
}

}  // namespace megalith::testing
