#pragma once
// defines: activation

#include "megalith/autograd/tape.h"
#include "megalith/ops/activation.h"

namespace megalith {

/// x [T, F], or [T, 2F] = [gate | linear] for gated kinds -> [T, F].
Var activation(Tape& tape, const Var& x, ActivationKind kind);

}  // namespace megalith
