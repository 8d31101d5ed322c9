#pragma once
// defines: Experts

#include <string>
#include <vector>

#include "megalith/autograd/functions/grouped_linear.h"
#include "megalith/autograd/functions/weighted_activation.h"
#include "megalith/parallel/expert/expert_shard.h"

namespace megalith {

/// E MLPs without biases side by side, fc2_e(act(fc1_e(x)) p): linear_fc1.weight{e} [F or 2F, H] with rows
/// [gate | linear] for gated activations, linear_fc2.weight{e} [H, F]. A rank holds those of its place on the
/// ep axis, of which ranks of etp share F: what they give is then a term of a sum.
class Experts {
 public:
  struct Options {
    std::string name;  ///< "decoder.layers.3.mlp.experts"
    int64_t hidden_size = 0;
    int64_t ffn_hidden_size = 0;  ///< F
    int64_t num_experts = 0;
    ActivationKind activation = ActivationKind::kSwiglu;
    double fc1_init_std = 0.02;
    double fc2_init_std = 0.02;
  };
  Experts(const Options& options, const Mesh& mesh, ParameterStore& store) : activation_(options.activation) {
    const int64_t f = options.ffn_hidden_size, parts = is_gated(options.activation) ? 2 : 1;
    const ExpertShard held = expert_shard(options.num_experts, mesh);
    const auto shard = [&](int dim, const std::vector<int64_t>& blocks) {
      return Shard{
          .dim = dim, .index = mesh.rank(Axis::kEtp), .count = mesh.size(Axis::kEtp), .blocks = blocks};
    };
    const std::vector<int64_t> fc1_blocks(static_cast<size_t>(parts), f);
    for (int64_t e = held.first; e < held.first + held.count; ++e)
      fc1_.push_back(&store.add({.name = fmt::format("{}.linear_fc1.weight{}", options.name, e),
                                 .shape = {parts * f, options.hidden_size},
                                 .init = Init::normal(options.fc1_init_std),
                                 .shard = shard(0, fc1_blocks),
                                 .is_expert = true}));
    for (int64_t e = held.first; e < held.first + held.count; ++e)
      fc2_.push_back(&store.add({.name = fmt::format("{}.linear_fc2.weight{}", options.name, e),
                                 .shape = {options.hidden_size, f},
                                 .init = Init::normal(options.fc2_init_std),
                                 .shard = shard(1, {}),
                                 .is_expert = true}));
  }

  /// x [M, H] sorted by expert, probs [M, 1], offsets [held experts + 1] i32 -> [M, H]. Rows behind the last
  /// offset are neither read nor written.
  Var forward(Tape& tape, const Var& x, const Var& probs, const Tensor& offsets) const {
    const Var expanded = grouped_linear(tape, x, fc1_, offsets);
    const Tensor num_rows = offsets.slice(0, offsets.dim(0) - 1, offsets.dim(0));
    return grouped_linear(tape, weighted_activation(tape, expanded, probs, activation_, num_rows), fc2_,
                          offsets);
  }

 private:
  std::vector<Parameter*> fc1_, fc2_;
  ActivationKind activation_;
};

}  // namespace megalith
