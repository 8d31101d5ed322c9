#pragma once
// defines: RouterState, RouterArgs, RouterResult, router

#include <vector>

#include "megalith/autograd/parameter.h"
#include "megalith/autograd/tape.h"
#include "megalith/comm/communicator.h"
#include "megalith/ops/route.h"

namespace megalith {

/// What a router keeps from step to step beside its weight, on the rank's device.
struct RouterState {
  Tensor expert_bias;        // [E] f32, or undefined; part of a checkpoint
  Tensor tokens_per_expert;  // [E] f64: choices since it was last cleared, of this rank's tokens
  Tensor step_counts;  // [E] f64, or undefined: what balances_step has counted since it was last cleared,
  int64_t num_counted = 0;  // in so many microbatches
  Tensor losses;            // [2] f64: load balance and z (ops/route.h) without their coefficients, of this
                            // rank's tokens, times loss_scale, since they were last cleared
  Tensor dropped;  // [1] f64, or undefined: choices of all ranks' tokens that found no room at the experts of
                   // this rank (parallel/expert/token_dispatcher.h), since it was last cleared
};

struct RouterArgs {
  RouteOptions options;
  RouterState* state = nullptr;  ///< must outlive the tape
  double balance_coeff = 0;
  double z_coeff = 0;
  double loss_scale = 1;  ///< of the auxiliary losses: 1 / microbatches of the step
  /// Load is balanced over each of these, and a rank's row r belongs to (first_token + r) /
  /// tokens_per_sequence.
  int64_t num_sequences = 1;
  int64_t tokens_per_sequence = 0, first_token = 0;
  /// Groups whose ranks hold other tokens of the same sequences: tensor-parallel ones under sequence
  /// parallelism, context-parallel ones. Must outlive the tape.
  std::vector<Communicator*> token_groups;
  /// The load-balancing loss takes the mean counts over the step's microbatches up to this one, also those of
  /// the ranks of step_groups, which have other microbatches: of P it sees this microbatch. Their order is
  /// that of the backwards.
  bool balances_step = false;
  std::vector<Communicator*> step_groups;
};

struct RouterResult {
  Var probs;       // [T, k] f32 (f64 for f64)
  Tensor experts;  // [T, k] i32
};

/// logits = x W^T in f32 (f64 for f64), then route(); x [T, H], weight [E, H]. The backward adds the
/// gradients of the auxiliary losses, which need no forward of their own, and books losses and tokens in the
/// state: once for each microbatch, whatever is computed again.
RouterResult router(Tape& tape, const Var& x, Parameter& weight, const RouterArgs& args);

}  // namespace megalith
