#include "megalith/ops/route.h"

#include <numeric>

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/route.h"
#include "megalith/kernels/cuda/route.h"
#include "megalith/ops/check.h"

namespace megalith {
namespace {

void check_logits(const char* op, const Tensor& logits, const Exec& exec) {
  check_float(op, "logits", logits, exec);
  MG_CHECK((logits.dtype() == DType::kF32 || logits.dtype() == DType::kF64) && logits.rank() == 2,
           "{}: logits are {} {}; allowed: f32 or f64 [T, E]", op, name_of(logits.dtype()),
           logits.shape().str());
  check_contiguous(op, "logits", logits);
}

void check_options(const char* op, const RouteOptions& options, int64_t num_experts) {
  MG_CHECK(options.topk >= 1 && options.topk <= num_experts, "{}: topk is {}; allowed: 1 to {} experts", op,
           options.topk, num_experts);
  if (options.num_groups == 0) return;
  MG_CHECK(num_experts % options.num_groups == 0 && options.group_topk >= 1 &&
               options.group_topk <= options.num_groups && options.topk % options.group_topk == 0 &&
               options.topk / options.group_topk <= num_experts / options.num_groups,
           "{}: {} of {} groups and {} of {} experts do not fit each other", op, options.group_topk,
           options.num_groups, options.topk, num_experts);
}

cpu::RouteShape shape_of(const RouteOptions& options, const Tensor& logits) {
  return {.dtype = logits.dtype(),
          .tokens = logits.dim(0),
          .num_experts = logits.dim(1),
          .topk = options.topk,
          .is_sigmoid = options.score == RouterScore::kSigmoid,
          .pre_softmax = options.pre_softmax,
          .num_groups = options.num_groups,
          .group_topk = options.group_topk,
          .scale = options.scale};
}

}  // namespace

void route(const RouteArgs& args, Exec& exec) {
  constexpr const char* kOp = "route";
  check_logits(kOp, args.logits, exec);
  check_options(kOp, args.options, args.logits.dim(1));
  const Shape choices{args.logits.dim(0), args.options.topk};
  check_tensor(kOp, "experts", args.experts, DType::kI32, choices, exec);
  check_tensor(kOp, "probs", args.probs, args.logits.dtype(), choices, exec);
  check_contiguous(kOp, "experts", args.experts);
  check_contiguous(kOp, "probs", args.probs);
  if (args.expert_bias.defined()) {
    check_tensor(kOp, "expert_bias", args.expert_bias, DType::kF32, {args.logits.dim(1)}, exec);
    MG_CHECK(args.options.score == RouterScore::kSigmoid, "route: an expert bias needs sigmoid scores");
  }
  const cpu::RouteArgs call{
      .shape = shape_of(args.options, args.logits),
      .logits = args.logits.raw(),
      .expert_bias = args.expert_bias.defined() ? args.expert_bias.data<float>() : nullptr,
      .experts = args.experts.data<int32_t>(),
      .probs = args.probs.raw()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::route(call, exec);
  }
  cpu::route(call, exec);
}

void route_backward(const RouteBackwardArgs& args, Exec& exec) {
  constexpr const char* kOp = "route_backward";
  check_logits(kOp, args.logits, exec);
  check_options(kOp, args.options, args.logits.dim(1));
  const Shape choices{args.logits.dim(0), args.options.topk};
  check_tensor(kOp, "experts", args.experts, DType::kI32, choices, exec);
  check_tensor(kOp, "d_probs", args.d_probs, args.logits.dtype(), choices, exec);
  check_tensor(kOp, "d_logits", args.d_logits, args.logits.dtype(), args.logits.shape(), exec);
  check_contiguous(kOp, "experts", args.experts);
  check_contiguous(kOp, "d_probs", args.d_probs);
  check_contiguous(kOp, "d_logits", args.d_logits);
  const cpu::RouteBackwardArgs call{.shape = shape_of(args.options, args.logits),
                                    .logits = args.logits.raw(),
                                    .experts = args.experts.data<int32_t>(),
                                    .d_probs = args.d_probs.raw(),
                                    .d_logits = args.d_logits.raw()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::route_backward(call, exec);
  }
  cpu::route_backward(call, exec);
}

void router_losses(const RouterLossArgs& args, Exec& exec) {
  constexpr const char* kOp = "router_losses";
  check_logits(kOp, args.logits, exec);
  const int64_t num_experts = args.logits.dim(1);
  MG_CHECK(args.tokens_per_sequence > 0, "router_losses: tokens_per_sequence is {}; it must be positive",
           args.tokens_per_sequence);
  const int64_t sequences =
      (args.first_token + args.logits.dim(0) + args.tokens_per_sequence - 1) / args.tokens_per_sequence;
  MG_CHECK(args.counts.defined() && args.counts.rank() == 2 && args.counts.dim(0) >= sequences,
           "router_losses: counts must hold the {} sequences of the tokens", sequences);
  check_tensor(kOp, "counts", args.counts, DType::kF64, {args.counts.dim(0), num_experts}, exec);
  check_tensor(kOp, "losses", args.losses, DType::kF64, {2}, exec);
  check_tensor(kOp, "d_logits", args.d_logits, args.logits.dtype(), args.logits.shape(), exec);
  check_contiguous(kOp, "d_logits", args.d_logits);
  const cpu::RouterLossArgs call{.shape = shape_of(args.options, args.logits),
                                 .logits = args.logits.raw(),
                                 .counts = args.counts.data<double>(),
                                 .first_token = args.first_token,
                                 .tokens_per_sequence = args.tokens_per_sequence,
                                 .balance_factor = args.balance_factor,
                                 .z_factor = args.z_factor,
                                 .balance_gradient = args.balance_gradient,
                                 .z_gradient = args.z_gradient,
                                 .losses = args.losses.data<double>(),
                                 .d_logits = args.d_logits.raw()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::router_losses(call, exec);
  }
  cpu::router_losses(call, exec);
}

void count_experts(const CountExpertsArgs& args, Exec& exec) {
  constexpr const char* kOp = "count_experts";
  MG_CHECK(args.experts.defined() && args.counts.defined() && args.counts.rank() == 2,
           "count_experts: experts [T, k] and counts [B, E] are needed");
  check_tensor(kOp, "experts", args.experts, DType::kI32, args.experts.shape(), exec);
  check_tensor(kOp, "counts", args.counts, DType::kF64, args.counts.shape(), exec);
  check_contiguous(kOp, "experts", args.experts);
  check_contiguous(kOp, "counts", args.counts);
  const int32_t* experts = args.experts.data<int32_t>();
  double* counts = args.counts.data<double>();
  const int64_t topk = args.experts.dim(1), num_experts = args.counts.dim(1);
  MG_CHECK(args.tokens_per_sequence > 0, "count_experts: tokens_per_sequence is {}; it must be positive",
           args.tokens_per_sequence);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) {
      const int64_t tokens = args.experts.dim(0);
      MG_CHECK(tokens == 0 || (args.first_token + tokens - 1) / args.tokens_per_sequence < args.counts.dim(0),
               "count_experts: {} tokens from {} on are of more than {} sequences", tokens, args.first_token,
               args.counts.dim(0));
      return cuda::count_experts({.experts = experts,
                                  .tokens = tokens,
                                  .topk = topk,
                                  .num_experts = num_experts,
                                  .first_token = args.first_token,
                                  .tokens_per_sequence = args.tokens_per_sequence,
                                  .counts = counts},
                                 exec);
    }
  }
  for (int64_t t = 0; t < args.experts.dim(0); ++t) {
    const int64_t sequence = (args.first_token + t) / args.tokens_per_sequence;
    MG_CHECK(sequence < args.counts.dim(0), "count_experts: token {} is of sequence {} of {}", t, sequence,
             args.counts.dim(0));
    for (int64_t j = 0; j < topk; ++j) {
      const int32_t expert = experts[t * topk + j];
      MG_CHECK(expert < num_experts, "count_experts: expert {} of {}", expert, num_experts);
      if (expert >= 0) counts[sequence * num_experts + expert] += 1;
    }
  }
}

void move_expert_bias(const Tensor& counts, double rate, const Tensor& bias, Exec& exec) {
  constexpr const char* kOp = "move_expert_bias";
  MG_CHECK(bias.defined() && bias.rank() == 1 && bias.numel() > 0, "{}: bias must be [E]", kOp);
  check_tensor(kOp, "bias", bias, DType::kF32, bias.shape(), exec);
  check_tensor(kOp, "counts", counts, DType::kF64, bias.shape(), exec);
  check_contiguous(kOp, "bias", bias);
  check_contiguous(kOp, "counts", counts);
  const int64_t num_experts = bias.numel();
  const double* tokens = counts.data<double>();
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda())
      return cuda::move_expert_bias(tokens, num_experts, rate, bias.data<float>(), exec);
  }
  const double mean = std::accumulate(tokens, tokens + num_experts, 0.0) / static_cast<double>(num_experts);
  for (int64_t e = 0; e < num_experts; ++e) {
    const int sign = (mean > tokens[e]) - (mean < tokens[e]);
    bias.data<float>()[e] += static_cast<float>(rate * sign);
  }
}

}  // namespace megalith
