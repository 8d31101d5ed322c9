#pragma once
// defines: RouteShape, RouteArgs, route, RouteBackwardArgs, route_backward, RouterLossArgs, router_losses

#include "megalith/core/dtype.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// Formulas in ops/route.h. All tensors are contiguous and, but for the integers, of `dtype` (f32, f64).
struct RouteShape {
  DType dtype = DType::kF32;
  int64_t tokens = 0, num_experts = 0, topk = 0;
  bool is_sigmoid = false, pre_softmax = false;
  int64_t num_groups = 0, group_topk = 0;
  double scale = 1;
};

struct RouteArgs {
  RouteShape shape;
  const void* logits = nullptr;
  const float* expert_bias = nullptr;
  int32_t* experts = nullptr;
  void* probs = nullptr;
};
void route(const RouteArgs& args, Exec& exec);

struct RouteBackwardArgs {
  RouteShape shape;
  const void* logits = nullptr;
  const int32_t* experts = nullptr;
  const void* d_probs = nullptr;
  void* d_logits = nullptr;
};
void route_backward(const RouteBackwardArgs& args, Exec& exec);

struct RouterLossArgs {
  RouteShape shape;
  const void* logits = nullptr;
  const double* counts = nullptr;
  int64_t first_token = 0, tokens_per_sequence = 1;
  double balance_factor = 0, z_factor = 0, balance_gradient = 0, z_gradient = 0;
  double* losses = nullptr;
  void* d_logits = nullptr;
};
void router_losses(const RouterLossArgs& args, Exec& exec);

}  // namespace megalith::cpu
