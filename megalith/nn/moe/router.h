#pragma once
// defines: Router

#include <memory>
#include <string>

#include "megalith/autograd/functions/router.h"
#include "megalith/nn/forward_context.h"
#include "megalith/parallel/mesh.h"

namespace megalith {

/// Chooses the experts of each token: weight [E, H] in the model's dtype, held whole by every rank.
class Router {
 public:
  /// The gradient that keeps the load of the experts even (ops/route.h).
  enum class Balancing {
    kNone,
    kAuxLoss,          ///< over all tokens of a microbatch
    kSequenceAuxLoss,  ///< over the tokens of each sequence
    kGlobalAuxLoss,    ///< the experts' load over the step's microbatches so far, of all data-parallel ranks
  };
  struct Options {
    std::string name;  ///< "decoder.layers.3.mlp.router"
    int64_t hidden_size = 0;
    int64_t num_experts = 0;
    double init_std = 0.02;
    RouteOptions route;
    Balancing balancing = Balancing::kNone;
    double aux_loss_coeff = 0, z_loss_coeff = 0;
    bool has_expert_bias = false;
    double bias_update_rate = 1e-3;
    bool counts_dropped = false;  ///< choices may find no room at their experts
  };
  Router(const Options& options, const Mesh& mesh, ParameterStore& store);

  /// Before the first forward: the bias and the counters are zero.
  void allocate_state(Exec& exec);
  /// x [T, H].
  RouterResult forward(Tape& tape, const ForwardContext& context, const Var& x) const;

  /// After an optimizer step, collective over the ranks that hold this layer: moves the bias by the tokens of
  /// the step (move_expert_bias). Clears the counts.
  void after_step(Exec& exec);

  const std::string& name() const { return options_.name; }
  RouterState& state() const { return *state_; }

 private:
  Options options_;
  const Mesh* mesh_;
  Parameter* weight_;
  std::unique_ptr<RouterState> state_;
};

}  // namespace megalith
