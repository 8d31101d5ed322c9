#pragma once
// defines: TransformerLayer

#include <optional>

#include "megalith/nn/mlp.h"
#include "megalith/nn/moe/moe_layer.h"
#include "megalith/nn/norm.h"
#include "megalith/nn/self_attention.h"
#include "megalith/ops/decode_stack.h"

namespace megalith {

/// Pre-norm transformer block: x += attention(norm(x)); x += mlp(norm(x)), the MLP dense or of experts.
class TransformerLayer {
 public:
  struct Options {
    SelfAttention::Options attention;
    Mlp::Options mlp;
    std::optional<MoeLayer::Options> moe;  ///< in the place of `mlp`
    NormKind norm = NormKind::kLayerNorm;
    double norm_eps = 1e-5;
    double hidden_dropout = 0;
  };
  /// `name` is the prefix of all parameters: "decoder.layers.3".
  TransformerLayer(const std::string& name, const Options& options, const Mesh& mesh, ParameterStore& store);

  /// [T, H] -> [T, H]; under sequence parallelism [T / tp, H].
  ResidualStream forward(Tape& tape, const ForwardContext& context, const ResidualStream& stream) const;

  /// What a kernel over the whole stack needs of the layer, for one token behind those of `cache`; nothing
  /// for layers of another kind: experts, LayerNorm, biases, norms of heads, sinks, another activation than
  /// SwiGLU, no rotary embedding.
  std::optional<DecodeLayer> decode_layer(const KvCache& cache) const;

  /// Of a layer with experts, else null.
  Router* router() { return moe_ ? &moe_->router() : nullptr; }

 private:
  Options options_;
  const Mesh* mesh_;
  Norm input_norm_;
  SelfAttention attention_;
  Norm pre_mlp_norm_;
  std::optional<Mlp> mlp_;
  std::optional<MoeLayer> moe_;
};

}  // namespace megalith
