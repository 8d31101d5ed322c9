#include "megalith/models/gpt/moe_config.h"

#include "megalith/base/error.h"
#include "megalith/models/gpt/layer_pattern.h"

namespace megalith {

std::vector<bool> MoeConfig::expert_layers(int64_t num_layers) const {
  if (!has_experts()) return std::vector<bool>(static_cast<size_t>(num_layers));
  return parse_layer_pattern("moe_layer_freq", layer_freq, num_layers);
}

void declare_fields(MoeConfig& c, FieldList& f) {
  f.add("num_experts", c.num_experts, {.help = "experts of a layer; 0: dense MLPs", .min = 0});
  f.add("moe_layer_freq", c.layer_freq,
        {.help = "layers with experts: every N-th from the first, or a list of 0 and 1 as ([0]*1+[1]*26)"});
  f.add("moe_ffn_hidden_size", c.ffn_hidden_size,
        {.help = "width of an expert; 0: ffn_hidden_size", .min = 0});
  f.add("moe_shared_expert_intermediate_size", c.shared_expert_intermediate_size,
        {.help = "width of an expert that sees every token; 0: none", .min = 0});
  f.add("moe_router_topk", c.router_topk, {.help = "experts of a token", .min = 1});
  f.add("moe_router_score_function", c.router_score_function,
        {.help = "what makes weights of a router's logits", .allowed = {"softmax", "sigmoid"}});
  f.add("moe_router_pre_softmax", c.router_pre_softmax,
        {.help = "softmax over all experts before the choice, not over the chosen ones"});
  f.add("moe_router_num_groups", c.router_num_groups,
        {.help = "groups of experts, of which a token may use some; 0: no groups", .min = 0});
  f.add("moe_router_group_topk", c.router_group_topk, {.help = "groups that a token may use", .min = 0});
  f.add("moe_router_topk_scaling_factor", c.router_topk_scaling_factor,
        {.help = "factor of the experts' weights; 0: none", .min = 0});
  f.add("moe_router_enable_expert_bias", c.router_enable_expert_bias,
        {.help = "balance the load by a bias on the choice, updated after each step (DeepSeek-V3)"});
  f.add("moe_router_bias_update_rate", c.router_bias_update_rate,
        {.help = "step of the expert bias", .min = 0});
  f.add("moe_router_load_balancing_type", c.router_load_balancing_type,
        {.help = "where the load-balancing loss counts: in a microbatch, in each sequence, in the step's "
                 "microbatches so far on all ranks, or nowhere",
         .allowed = {"aux_loss", "seq_aux_loss", "global_aux_loss", "none"}});
  f.add("moe_aux_loss_coeff", c.aux_loss_coeff, {.help = "coefficient of the load-balancing loss", .min = 0});
  f.add("moe_z_loss_coeff", c.z_loss_coeff, {.help = "coefficient of the router's z-loss", .min = 0});
  f.add("moe_token_dispatcher_type", c.token_dispatcher_type,
        {.help = "how tokens come to the ranks of their experts", .allowed = {"alltoall", "allgather"}});
  f.add("moe_expert_capacity_factor", c.expert_capacity_factor,
        {.help = "tokens an expert takes of a rank, against an even load; 0: all", .min = 0});
  f.add("moe_pad_expert_input_to_capacity", c.pad_expert_input_to_capacity,
        {.help = "every expert gets rows up to its capacity"});
  f.add("moe_expert_rank_capacity_factor", c.expert_rank_capacity_factor,
        {.help =
             "rows that the experts of a rank have room for, against an even load: sizes are fixed, and no "
             "host waits where GPUs reach each other; what finds no room is dropped and counted; 0: all fit",
         .min = 0});
  f.add("moe_token_drop_policy", c.token_drop_policy,
        {.help = "who stays where an expert is full: the largest weights, or the first tokens",
         .allowed = {"probs", "position"}});
}

void validate(const MoeConfig& c, int64_t num_layers) {
  if (!c.has_experts()) return;
  const auto require = [](bool holds, const std::string& message) {
    if (!holds) throw UsageError(message);
  };
  require(c.router_topk <= c.num_experts,
          fmt::format("moe_router_topk {} is above num_experts {}", c.router_topk, c.num_experts));
  require(c.router_topk > 1 || c.router_pre_softmax || c.router_score_function != "softmax",
          "moe_router_topk 1 needs moe_router_pre_softmax: a softmax over one chosen expert is always 1");
  require(!c.router_enable_expert_bias || c.router_score_function == "sigmoid",
          fmt::format("moe_router_enable_expert_bias needs moe_router_score_function sigmoid, not {}",
                      c.router_score_function));
  require((c.router_num_groups == 0) == (c.router_group_topk == 0),
          fmt::format("moe_router_num_groups {} and moe_router_group_topk {} go together",
                      c.router_num_groups, c.router_group_topk));
  if (c.router_num_groups > 0) {
    require(c.num_experts % c.router_num_groups == 0,
            fmt::format("num_experts {} is not a multiple of moe_router_num_groups {}", c.num_experts,
                        c.router_num_groups));
    require(c.router_group_topk <= c.router_num_groups && c.router_topk % c.router_group_topk == 0,
            fmt::format("moe_router_group_topk {} must be at most moe_router_num_groups {} and divide "
                        "moe_router_topk {}",
                        c.router_group_topk, c.router_num_groups, c.router_topk));
    require(c.router_topk / c.router_group_topk <= c.num_experts / c.router_num_groups,
            fmt::format("moe_router_topk {} does not fit into {} groups of {} experts", c.router_topk,
                        c.router_group_topk, c.num_experts / c.router_num_groups));
  }
  if (c.pad_expert_input_to_capacity) {
    require(c.expert_capacity_factor > 0,
            "moe_pad_expert_input_to_capacity needs moe_expert_capacity_factor above 0");
    require(c.token_dispatcher_type == "alltoall",
            "moe_pad_expert_input_to_capacity needs moe_token_dispatcher_type alltoall");
  }
  if (c.expert_rank_capacity_factor > 0) {
    require(
        c.expert_rank_capacity_factor >= 1,
        fmt::format("moe_expert_rank_capacity_factor {} is below 1, with which even an even load finds no "
                    "room",
                    c.expert_rank_capacity_factor));
    require(c.token_dispatcher_type == "alltoall",
            "moe_expert_rank_capacity_factor needs moe_token_dispatcher_type alltoall");
    require(!c.pad_expert_input_to_capacity,
            "moe_expert_rank_capacity_factor and moe_pad_expert_input_to_capacity both set the rows of "
            "experts; choose one");
  }
  c.expert_layers(num_layers);
}

}  // namespace megalith
