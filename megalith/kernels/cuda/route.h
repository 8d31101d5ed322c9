#pragma once
// defines: route, route_backward, router_losses, CountExpertsArgs, count_experts,
// move_expert_bias

#include "megalith/kernels/cpu/route.h"

namespace megalith::cuda {

// As on the CPU, with pointers to the memory of the rank's GPU and on the stream of `exec`. A warp has a
// token; sums over tokens have a fixed order.

void route(const cpu::RouteArgs& args, Exec& exec);
void route_backward(const cpu::RouteBackwardArgs& args, Exec& exec);
void router_losses(const cpu::RouterLossArgs& args, Exec& exec);

/// counts[(first_token + t) / tokens_per_sequence, experts[t, j]] += 1. Whole numbers: exact in any order.
/// What is not in [0, num_experts) counts nowhere.
struct CountExpertsArgs {
  const int32_t* experts = nullptr;
  int64_t tokens = 0, topk = 0, num_experts = 0;
  int64_t first_token = 0, tokens_per_sequence = 1;
  double* counts = nullptr;
};
void count_experts(const CountExpertsArgs& args, Exec& exec);

/// ops/route.h.
void move_expert_bias(const double* counts, int64_t num_experts, double rate, float* bias, Exec& exec);

}  // namespace megalith::cuda
