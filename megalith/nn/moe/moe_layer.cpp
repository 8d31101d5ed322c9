#include "megalith/nn/moe/moe_layer.h"

#include <cmath>

#include "megalith/autograd/functions/add.h"

namespace megalith {

MoeLayer::MoeLayer(const Options& options, const Mesh& mesh, ParameterStore& store)
    : options_(options),
      router_(options.router, mesh, store),
      experts_(options.experts, mesh, store),
      dispatcher_(options.dispatcher, options.experts.num_experts, mesh) {
  if (mesh.tp().size() > 1 && !mesh.is_sequence_parallel())
    throw UsageError(fmt::format(
        "tensor_model_parallel_size {} with num_experts {} needs sequence_parallel: true, so that "
        "tensor-parallel ranks bring different tokens to the experts",
        mesh.tp().size(), options.experts.num_experts));
  if (mesh.config().moe_shared_expert_overlap &&
      (!options.shared_expert || options.dispatcher != DispatcherKind::kAllToAll))
    throw UsageError(
        "moe_shared_expert_overlap needs moe_shared_expert_intermediate_size above 0 and "
        "moe_token_dispatcher_type alltoall");
  if (options.shared_expert) shared_expert_.emplace(*options.shared_expert, mesh, store);
}

Var MoeLayer::forward(Tape& tape, const ForwardContext& context, const Var& x) const {
  const RouterResult routed = router_.forward(tape, context, x);
  TokenDispatcher::Choice choice{.probs = routed.probs, .experts = routed.experts};
  if (options_.capacity_factor > 0) {
    const double even =
        static_cast<double>(routed.experts.numel()) / static_cast<double>(options_.experts.num_experts);
    const auto capacity = static_cast<int64_t>(std::ceil(even * options_.capacity_factor));
    choice.experts = drop_over_capacity({.experts = routed.experts,
                                         .probs = routed.probs.data,
                                         .num_experts = options_.experts.num_experts,
                                         .capacity = capacity,
                                         .policy = options_.drop_policy},
                                        tape.exec());
    choice.has_dropped = true;
    if (options_.pads_to_capacity) choice.rows_per_expert = capacity;
  }
  if (context.is_training) {
    choice.rank_capacity_factor = options_.rank_capacity_factor;
    choice.dropped = router_.state().dropped;
  }
  // Tokens travel while another microbatch has its turn and the shared expert computes: to their experts
  // beside its first product, back beside its second.
  DispatchedTokens sent = dispatcher_.begin_dispatch(tape, x, choice);
  tape.give_way();
  std::optional<Mlp::Expanded> expanded;
  if (shared_expert_) expanded = shared_expert_->expand(tape, x);
  sent = dispatcher_.end_dispatch(tape, std::move(sent));
  const Var processed = experts_.forward(tape, sent.x, sent.probs, sent.offsets);
  const Var begun = dispatcher_.begin_combine(tape, processed, sent.plan);
  tape.give_way();
  Var shared;
  if (shared_expert_) shared = shared_expert_->contract(tape, *expanded);
  const Var combined = dispatcher_.end_combine(tape, begun, sent.plan);
  return shared_expert_ ? add(tape, combined, shared) : combined;
}

}  // namespace megalith
