#pragma once
// defines: RouterScore, RouteOptions, RouteArgs, route, RouteBackwardArgs, route_backward, RouterLossArgs,
// router_losses, CountExpertsArgs, count_experts, move_expert_bias

#include "megalith/core/exec.h"

namespace megalith {

enum class RouterScore { kSoftmax, kSigmoid };

/// How a token's logits choose its experts. Megatron's moe_utils.py, topk_routing_with_score_function:
///
/// softmax: the k largest logits, p = softmax over the k; with pre_softmax the k largest of
/// softmax over all E, not normalised again.
/// sigmoid: s = sigmoid(logits), the k largest of s + expert_bias, p = s / (sum of the k s + 1e-20), for k =
/// 1 p = s (DeepSeek-V3, section 2.1.2). p is multiplied by `scale`. With num_groups > 0 the experts form
/// groups of neighbours; the group_topk groups whose topk / group_topk best scores have the largest sum stay,
/// the others cannot be chosen.
struct RouteOptions {
  int64_t topk = 2;
  RouterScore score = RouterScore::kSoftmax;
  bool pre_softmax = false;
  int64_t num_groups = 0, group_topk = 0;
  double scale = 1;
};

/// Arithmetic in the dtype of the logits. Choices come by falling score; of equal scores the lower index
/// wins.
struct RouteArgs {
  RouteOptions options;
  Tensor logits;       // [T, E] f32 or f64
  Tensor expert_bias;  // [E] f32, or undefined; for the choice alone
  Tensor experts;      // [T, k] i32, out
  Tensor probs;        // [T, k] dtype of the logits, out
};
void route(const RouteArgs& args, Exec& exec);

/// d_logits from d_probs: the choice is constant.
struct RouteBackwardArgs {
  RouteOptions options;
  Tensor logits;    // [T, E]
  Tensor experts;   // [T, k]
  Tensor d_probs;   // [T, k]
  Tensor d_logits;  // [T, E], out
};
void route_backward(const RouteBackwardArgs& args, Exec& exec);

/// The auxiliary losses of a router, which never stand in the loss that is reported: their gradient is added
/// to that of the logits.
///
/// Load balance (Fedus et al. 2021, equation 4; Megatron's switch_load_balancing_loss_func):
///   E / (k B S^2) sum over sequences b and experts e of n_be (sum over t in b of P_te),
/// P = softmax(logits), or sigmoid(logits) over its sum + 1e-20; n_be, constant, counts the tokens of
/// sequence b whose k largest P hold e. B = 1 takes the microbatch as one sequence (aux_loss), else each
/// sequence is balanced by itself (seq_aux_loss). Ranks that hold parts of the sequences use the counts and S
/// of the whole, so that their losses add up.
/// z: the mean over tokens of logsumexp(logits)^2 (Zoph et al. 2022, equation 5).
struct RouterLossArgs {
  RouteOptions options;
  Tensor logits;                    // [T, E]
  Tensor counts;                    // [B, E] f64: n_be
  int64_t first_token = 0;          ///< place of this rank's first row among the rows of all B sequences
  int64_t tokens_per_sequence = 0;  ///< as the rows are laid out: row r belongs to sequence
                                    ///< (first_token + r) / tokens_per_sequence
  double balance_factor = 0;        ///< weight times E / (k B S^2)
  double z_factor = 0;              ///< weight over the number of tokens
  double balance_gradient = 0;      ///< coefficients of the gradients; the values do not carry them
  double z_gradient = 0;
  Tensor losses;    // [2] f64: += balance_factor * sum, z_factor * sum
  Tensor d_logits;  // [T, E] +=
};
void router_losses(const RouterLossArgs& args, Exec& exec);

/// counts[(first_token + t) / tokens_per_sequence, experts[t, j]] += 1; what stands as -1 counts nowhere.
struct CountExpertsArgs {
  Tensor experts;  // [T, k] i32
  int64_t first_token = 0, tokens_per_sequence = 0;
  Tensor counts;  // [B, E] f64
};
void count_experts(const CountExpertsArgs& args, Exec& exec);

/// bias[e] += rate * sign(mean over experts of counts - counts[e]) (Wang et al. 2024, auxiliary-loss-free
/// load balancing); counts [E] f64, bias [E] f32. Counts are whole numbers below 2^53: exact in any order.
void move_expert_bias(const Tensor& counts, double rate, const Tensor& bias, Exec& exec);

}  // namespace megalith
