#pragma once
// defines: ActivationKind, is_gated, activation_function, activation, activation_backward

#include "megalith/core/exec.h"

namespace megalith::cpu {
enum class Activation;
}

namespace megalith {

/// Gated kinds take rows [gate | linear] of width 2F and give act(gate) * linear of width F (Shazeer 2020).
/// kGelu is the tanh approximation that Megatron and GPT-2 use, kGeluErf the exact one.
enum class ActivationKind { kGelu, kGeluErf, kRelu, kSquaredRelu, kSilu, kSwiglu, kGeglu };

bool is_gated(ActivationKind kind);
/// Of one element, without the gating.
cpu::Activation activation_function(ActivationKind kind);

/// x [T, F or 2F] -> y [T, F]; f64, f32, bf16.
void activation(ActivationKind kind, const Tensor& x, const Tensor& y, Exec& exec);

/// d_x [T, F or 2F] from d_y [T, F] and the saved x. d_x may be x itself, and d_y the second half of
/// a gated d_x.
void activation_backward(ActivationKind kind, const Tensor& x, const Tensor& d_y, const Tensor& d_x,
                         Exec& exec);

}  // namespace megalith
