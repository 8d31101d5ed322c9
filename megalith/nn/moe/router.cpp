#include "megalith/nn/moe/router.h"

#include "megalith/ops/elementwise.h"

namespace megalith {

Router::Router(const Options& options, const Mesh& mesh, ParameterStore& store)
    : options_(options),
      mesh_(&mesh),
      weight_(&store.add({.name = options.name + ".weight",
                          .shape = {options.num_experts, options.hidden_size},
                          .init = Init::normal(options.init_std),
                          .gradient_is_partial = mesh.is_sequence_parallel()})),
      state_(std::make_unique<RouterState>()) {}

void Router::allocate_state(Exec& exec) {
  const OwnerScope scope(exec.ledger(), "routers");
  if (options_.has_expert_bias) state_->expert_bias = exec.zeros({options_.num_experts}, DType::kF32);
  state_->tokens_per_expert = exec.zeros({options_.num_experts}, DType::kF64);
  state_->losses = exec.zeros({2}, DType::kF64);
  if (options_.counts_dropped) state_->dropped = exec.zeros({1}, DType::kF64);
  if (options_.balancing == Balancing::kGlobalAuxLoss)
    state_->step_counts = exec.zeros({options_.num_experts}, DType::kF64);
}

RouterResult Router::forward(Tape& tape, const ForwardContext& context, const Var& x) const {
  const int64_t tokens = x.data.dim(0);
  RouterArgs args{.options = options_.route,
                  .state = state_.get(),
                  .balance_coeff = options_.balancing == Balancing::kNone ? 0 : options_.aux_loss_coeff,
                  .z_coeff = options_.z_loss_coeff,
                  .loss_scale = context.aux_loss_scale,
                  .num_sequences = options_.balancing == Balancing::kSequenceAuxLoss ? context.batch : 1};
  int64_t rows = tokens;
  if (mesh_->is_sequence_parallel()) {
    rows *= mesh_->tp().size();
    args.first_token = mesh_->tp().rank() * tokens;
    args.token_groups.push_back(&mesh_->tp());
  }
  if (mesh_->cp().size() > 1) args.token_groups.push_back(&mesh_->cp());
  args.tokens_per_sequence = rows / args.num_sequences;
  args.balances_step = options_.balancing == Balancing::kGlobalAuxLoss;
  if (args.balances_step) args.step_groups.push_back(&mesh_->group(Axis::kDp));
  return router(tape, x, *weight_, args);
}

void Router::after_step(Exec& exec) {
  if (options_.has_expert_bias) {
    const Tensor& counts = state_->tokens_per_expert;
    if (mesh_->is_sequence_parallel()) mesh_->tp().all_reduce(counts, ReduceOp::kSum, options_.name);
    if (mesh_->dp_cp().size() > 1) mesh_->dp_cp().all_reduce(counts, ReduceOp::kSum, options_.name);
    move_expert_bias(counts, options_.bias_update_rate, state_->expert_bias, exec);
  }
  fill(state_->tokens_per_expert, 0, exec);
  if (state_->step_counts.defined()) fill(state_->step_counts, 0, exec);
  state_->num_counted = 0;
}

}  // namespace megalith
