#include "megalith/autograd/functions/router.h"

#include "megalith/autograd/functions/linear.h"
#include "megalith/ops/check.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/gemm.h"

namespace megalith {
namespace {

Tensor converted(const Tensor& x, DType dtype, Exec& exec) {
  if (x.dtype() == dtype) return x;
  const Tensor y = exec.empty(x.shape(), dtype);
  copy(x, y, exec);
  return y;
}

class RouterNode : public Node {
 public:
  RouterNode(const Tape& tape, const Var& x, Parameter& weight, Tensor logits, Tensor experts,
             RouterArgs args)
      : x_(tape, x),
        x_id_(x.id),
        weight_(&weight),
        logits_(std::move(logits)),
        experts_(std::move(experts)),
        args_(std::move(args)) {}
  const char* name() const override { return "router"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const DType dtype = logits_.dtype();
    d_logits_ = exec.empty(logits_.shape(), dtype);
    route_backward({.options = args_.options,
                    .logits = logits_,
                    .experts = experts_,
                    .d_probs = tape.take_gradient(output()).view(experts_.shape()),
                    .d_logits = d_logits_},
                   exec);
    count_experts({.experts = experts_,
                   .tokens_per_sequence = std::max<int64_t>(experts_.dim(0), 1),
                   .counts = args_.state->tokens_per_expert.view({1, -1})},
                  exec);
    if (args_.balance_coeff != 0 || args_.z_coeff != 0) add_losses(exec);
    if (x_id_ == kNoGradient) return;
    const Tensor d_x = exec.empty({logits_.dim(0), weight_->data.dim(1)}, dtype);
    gemm({.a = d_logits_, .b = converted(weight_->data, dtype, exec), .c = d_x}, exec);
    tape.add_gradient(x_id_, converted(d_x, weight_->data.dtype(), exec));
  }

  bool has_backward_weight() const override { return true; }
  void backward_weight(Exec& exec) override {
    accumulate_weight_gradient(d_logits_, converted(x_.get(exec), logits_.dtype(), exec), *weight_, exec);
  }
  void make_self_contained(Exec& exec) override { x_.get(exec); }

 private:
  void add_losses(Exec& exec) {
    const int64_t tokens = logits_.dim(0), num_experts = logits_.dim(1);
    const int64_t sequences = args_.num_sequences;
    int64_t parts = 1;  // ranks that share the microbatch
    for (const Communicator* group : args_.token_groups) parts *= group->size();
    RouterLossArgs losses{.options = args_.options,
                          .logits = logits_,
                          .counts = exec.zeros({sequences, num_experts}, DType::kF64),
                          .first_token = args_.first_token,
                          .tokens_per_sequence = args_.tokens_per_sequence,
                          .balance_gradient = args_.balance_coeff,
                          .z_gradient = args_.z_coeff,
                          .losses = args_.state->losses,
                          .d_logits = d_logits_};
    if (args_.z_coeff != 0) losses.z_factor = args_.loss_scale / static_cast<double>(tokens * parts);
    if (args_.balance_coeff != 0) {
      count_experts({.experts = largest_shares(exec),
                     .first_token = losses.first_token,
                     .tokens_per_sequence = losses.tokens_per_sequence,
                     .counts = losses.counts},
                    exec);
      sum_over(args_.token_groups, losses.counts);
      const auto length = static_cast<double>(tokens * parts / sequences);
      losses.balance_factor = args_.loss_scale * static_cast<double>(num_experts) /
                              (static_cast<double>(args_.options.topk * sequences) * length * length);
      if (args_.balances_step) losses.balance_factor /= count_in_step(losses, exec);
    }
    router_losses(losses, exec);
  }

  static void sum_over(const std::vector<Communicator*>& groups, const Tensor& counts) {
    for (Communicator* group : groups)
      if (group->size() > 1) group->all_reduce(counts, ReduceOp::kSum, "tokens of experts");
  }

  // Puts the counts of the step so far in the place of the microbatch's; returns of how many microbatches.
  double count_in_step(RouterLossArgs& losses, Exec& exec) {
    RouterState& state = *args_.state;
    sum_over(args_.step_groups, losses.counts);
    const Tensor sum = state.step_counts.view(losses.counts.shape());
    add(sum, losses.counts, sum, exec);
    losses.counts = sum;
    ++state.num_counted;
    int64_t at_once = 1;
    for (const Communicator* group : args_.step_groups) at_once *= group->size();
    return static_cast<double>(state.num_counted * at_once);
  }

  // Of the load-balancing loss: those of the k largest P, without bias and groups.
  Tensor largest_shares(Exec& exec) const {
    if (!args_.state->expert_bias.defined() && args_.options.num_groups == 0) return experts_;
    RouteOptions plain = args_.options;
    plain.num_groups = plain.group_topk = 0;
    const Tensor experts = exec.empty(experts_.shape(), DType::kI32);
    route({.options = plain,
           .logits = logits_,
           .experts = experts,
           .probs = exec.empty(experts_.shape(), logits_.dtype())},
          exec);
    return experts;
  }

  Saved x_;
  ValueId x_id_;
  Parameter* weight_;
  Tensor logits_, experts_;
  RouterArgs args_;
  Tensor d_logits_;
};

}  // namespace

RouterResult router(Tape& tape, const Var& x, Parameter& weight, const RouterArgs& args) {
  Exec& exec = tape.exec();
  MG_CHECK(args.state != nullptr && args.state->tokens_per_expert.defined(),
           "router '{}': its state is not allocated", weight.name());
  const int64_t tokens = x.data.dim(0), num_experts = weight.data.dim(0);
  const DType dtype = accumulate_dtype(x.data.dtype());
  const Tensor logits = exec.empty({tokens, num_experts}, dtype);
  gemm({.a = x.data, .b = weight.data, .c = logits, .transpose_b = Transpose::kYes}, exec);
  const Tensor experts = exec.empty({tokens, args.options.topk}, DType::kI32);
  const Tensor probs = exec.empty(experts.shape(), dtype);
  route({.options = args.options,
         .logits = logits,
         .expert_bias = args.state->expert_bias,
         .experts = experts,
         .probs = probs},
        exec);
  return {.probs = tape.apply<RouterNode>(probs, tape, x, weight, logits, experts, args), .experts = experts};
}

}  // namespace megalith
