#pragma once
// defines: weighted_activation

#include "megalith/autograd/tape.h"
#include "megalith/ops/activation.h"

namespace megalith {

/// y[m] = act(x[m]) weights[m]: x [M, F], or [M, 2F] for gated kinds, weights [M, 1] f32 (f64 for f64), y [M,
/// F]. The router's probabilities enter here, as in Megatron: what the experts give is then only summed, and
/// nothing of their outputs has to be kept. Where num_rows is defined, [1] i32 on the device, rows from there
/// on are neither read nor written.
Var weighted_activation(Tape& tape, const Var& x, const Var& weights, ActivationKind kind,
                        const Tensor& num_rows = {});

}  // namespace megalith
