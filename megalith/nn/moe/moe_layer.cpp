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
  const DispatchedTokens sent = dispatcher_.dispatch(tape, x, choice);
  const Var processed = experts_.forward(tape, sent.x, sent.probs, sent.offsets);
  const Var combined = dispatcher_.combine(tape, processed, sent.plan);
  return shared_expert_ ? add(tape, combined, shared_expert_->forward(tape, x)) : combined;
}

}  // namespace megalith
