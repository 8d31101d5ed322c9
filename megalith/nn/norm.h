#pragma once
// defines: Norm

#include <string>

#include "megalith/autograd/functions/norm.h"

namespace megalith {

/// RMSNorm (weight) or LayerNorm (weight and bias) over the hidden dimension.
class Norm {
 public:
  Norm(const std::string& name, NormKind kind, int64_t hidden_size, double eps, ParameterStore& store)
      : weights_{
            .kind = kind, .weight = &store.add({name + ".weight", {hidden_size}, Init::ones()}), .eps = eps} {
    if (kind == NormKind::kLayerNorm)
      weights_.bias = &store.add({name + ".bias", {hidden_size}, Init::zeros()});
  }

  Var forward(Tape& tape, const Var& x) const { return norm(tape, x, weights_).y; }
  /// sum = x + residual, y = norm(sum).
  NormResult forward(Tape& tape, const Var& x, const Var& residual) const {
    return add_norm(tape, x, residual, weights_);
  }

 private:
  NormWeights weights_;
};

}  // namespace megalith
