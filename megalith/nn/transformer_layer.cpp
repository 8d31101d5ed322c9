#include "megalith/nn/transformer_layer.h"

#include "megalith/autograd/functions/dropout.h"

namespace megalith {

TransformerLayer::TransformerLayer(const std::string& name, const Options& options, const Mesh& mesh,
                                   ParameterStore& store)
    : options_(options),
      mesh_(&mesh),
      input_norm_(name + ".input_layernorm", options.norm, options.attention.hidden_size, options.norm_eps,
                  mesh, store),
      attention_(options.attention, mesh, store),
      pre_mlp_norm_(name + ".pre_mlp_layernorm", options.norm, options.attention.hidden_size,
                    options.norm_eps, mesh, store) {
  if (options.moe)
    moe_.emplace(*options.moe, mesh, store);
  else
    mlp_.emplace(options.mlp, mesh, store);
}

ResidualStream TransformerLayer::forward(Tape& tape, const ForwardContext& context,
                                         const ResidualStream& stream) const {
  RngKey rng = context.rng.fold(static_cast<uint64_t>(options_.attention.layer));
  if (mesh_->is_sequence_parallel()) rng = rng.fold(static_cast<uint64_t>(mesh_->tp().rank()));
  const double drop = context.is_training ? options_.hidden_dropout : 0;

  // Experts sum what they make, and see this rank's rows alone.
  const bool leaves_sums = mesh_->tp_peers() != nullptr && drop == 0 && !moe_;
  const RowSum sum = leaves_sums ? RowSum::kLeft : RowSum::kMade;
  Communicator* terms_of = leaves_sums ? &mesh_->tp() : nullptr;

  // A branch, or with `residual` the sum that its last product has made.
  const auto stream_behind = [&](const Var& x, const Var& branch, const Var& residual, const char* what) {
    if (residual.data.defined()) return ResidualStream{branch};
    return ResidualStream{x, dropout(tape, branch, drop, rng.fold(what)), terms_of};
  };

  const NormResult input = input_norm_.forward(tape, stream);
  const Var first = drop == 0 && attention_.proj().adds_residual() ? input.sum : Var{};
  const Var attended = attention_.forward(tape, context, {input.y, input.whole}, sum, first);
  const NormResult middle =
      pre_mlp_norm_.forward(tape, stream_behind(input.sum, attended, first, "attention"));
  if (moe_) return stream_behind(middle.sum, moe_->forward(tape, context, middle.y), {}, "mlp");
  const Var second = drop == 0 && mlp_->fc2().adds_residual() ? middle.sum : Var{};
  const Var expanded = mlp_->forward(tape, {middle.y, middle.whole}, sum, second);
  return stream_behind(middle.sum, expanded, second, "mlp");
}

std::optional<DecodeLayer> TransformerLayer::decode_layer(const KvCache& cache) const {
  const SelfAttention::Options& attention = attention_.options();
  const bool has_bias = attention.has_qkv_bias || attention.has_proj_bias || (mlp_ && mlp_->fc1().has_bias());
  if (!mlp_ || mlp_->activation_kind() != ActivationKind::kSwiglu || has_bias) return {};
  if (options_.norm != NormKind::kRmsNorm || attention.qk_norm || attention.rotary == nullptr) return {};
  if (attention.softmax != SoftmaxType::kVanilla) return {};
  return DecodeLayer{.input_norm = input_norm_.weights().weight->data,
                     .qkv = attention_.qkv().weight(),
                     .proj = attention_.proj().weight(),
                     .pre_mlp_norm = pre_mlp_norm_.weights().weight->data,
                     .fc1 = mlp_->fc1().weight(),
                     .fc2 = mlp_->fc2().weight(),
                     .keys = cache.keys(attention.layer),
                     .values = cache.values(attention.layer),
                     .window = attention.window};
}

}  // namespace megalith
