#pragma once
// defines: Mlp

#include <string>
#include <variant>

#include "megalith/autograd/functions/activation.h"
#include "megalith/nn/linear.h"

namespace megalith {

/// fc2(act(fc1(x))): linear_fc1 [F or 2F, H] with rows [gate | linear] for gated activations, linear_fc2 [H,
/// F]. Tensor-parallel ranks share F.
class Mlp {
 public:
  struct Options {
    std::string name;  ///< "decoder.layers.3.mlp"
    int64_t hidden_size = 0;
    int64_t ffn_hidden_size = 0;  ///< F
    ActivationKind activation = ActivationKind::kGelu;
    bool has_bias = false;
    double fc1_init_std = 0.02;
    double fc2_init_std = 0.02;
  };
  Mlp(const Options& options, const Mesh& mesh, ParameterStore& store)
      : fc1_({.name = options.name + ".linear_fc1",
              .in_features = options.hidden_size,
              .out_features = options.ffn_hidden_size * (is_gated(options.activation) ? 2 : 1),
              .init_std = options.fc1_init_std,
              .has_bias = options.has_bias,
              .partition = Partition::kColumn,
              .blocks = std::vector<int64_t>(is_gated(options.activation) ? 2 : 1, options.ffn_hidden_size)},
             mesh, store),
        fc2_({.name = options.name + ".linear_fc2",
              .in_features = options.ffn_hidden_size,
              .out_features = options.hidden_size,
              .init_std = options.fc2_init_std,
              .has_bias = options.has_bias,
              .partition = Partition::kRow},
             mesh, store),
        activation_(options.activation) {}

  /// x [T, H] -> [T, H], on top of a residual where one is given (Linear::adds_residual of fc2).
  Var forward(Tape& tape, const SharedRows& x, RowSum sum = RowSum::kMade, const Var& residual = {}) const {
    return contract(tape, expand(tape, x), sum, residual);
  }

  /// The same in two calls: act(fc1(x)) [T, F / tp], and fc2 of it.
  using Expanded = std::variant<Var, SwigluRows>;
  Expanded expand(Tape& tape, const SharedRows& x) const {
    if (activation_ == ActivationKind::kSwiglu && !fc1_.has_bias()) return fc1_.swiglu_forward(tape, x);
    return activation(tape, fc1_.forward(tape, x), activation_);
  }
  Var contract(Tape& tape, const Expanded& expanded, RowSum sum = RowSum::kMade,
               const Var& residual = {}) const {
    if (const auto* rows = std::get_if<SwigluRows>(&expanded))
      return fc2_.forward_swiglu(tape, *rows, sum, residual);
    return fc2_.forward(tape, std::get<Var>(expanded), sum, residual);
  }

  ActivationKind activation_kind() const { return activation_; }
  const Linear& fc1() const { return fc1_; }
  const Linear& fc2() const { return fc2_; }

 private:
  Linear fc1_;
  Linear fc2_;
  ActivationKind activation_;
};

}  // namespace megalith
