#pragma once
// defines: Norm

#include <string>

#include "megalith/autograd/functions/norm.h"
#include "megalith/autograd/residual_stream.h"
#include "megalith/parallel/mesh.h"

namespace megalith {

/// RMSNorm (weight) or LayerNorm (weight and bias) over the hidden dimension. Under sequence parallelism each
/// rank sees its own tokens only.
class Norm {
 public:
  Norm(const std::string& name, NormKind kind, int64_t hidden_size, double eps, const Mesh& mesh,
       ParameterStore& store)
      : mesh_(&mesh) {
    const auto add = [&](const char* suffix, Init init) {
      return &store.add({.name = name + suffix,
                         .shape = {hidden_size},
                         .init = init,
                         .gradient_is_partial = mesh.is_sequence_parallel()});
    };
    weights_ = {.kind = kind, .weight = add(".weight", Init::ones()), .eps = eps};
    if (kind == NormKind::kLayerNorm) weights_.bias = add(".bias", Init::zeros());
  }

  /// Makes the stream's sum and normalises it; what ranks have terms of is summed and gathered in one kernel.
  NormResult forward(Tape& tape, const ResidualStream& stream) const {
    if (stream.terms_of != nullptr)
      return sum_add_norm(tape, stream.branch, stream.x, weights_, {mesh_->tp_peers(), mesh_->tp().rank()});
    return stream.branch.data.defined() ? add_norm(tape, stream.branch, stream.x, weights_)
                                        : norm(tape, stream.x, weights_);
  }

  const NormWeights& weights() const { return weights_; }

 private:
  const Mesh* mesh_;
  NormWeights weights_;
};

}  // namespace megalith
