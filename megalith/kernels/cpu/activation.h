#pragma once
// defines: Activation, ActivationArgs, activation, ActivationBackwardArgs, activation_backward

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// The function of one element; gating is told apart from it.
enum class Activation { kGelu, kGeluErf, kRelu, kSquaredRelu, kSilu };

/// y = f(x), or f(gate) * linear where x holds rows [gate | linear] of 2 cols. Strides in elements.
struct ActivationArgs {
  DType dtype = DType::kF32;
  Activation function = Activation::kGelu;
  bool is_gated = false;
  int64_t rows = 0, cols = 0;  // of y
  const void* x = nullptr;
  void* y = nullptr;
  int64_t x_stride = 0, y_stride = 0;
  int num_threads = 1;  // set by activation()
};
void activation(ActivationArgs args, Exec& exec);

/// d_x may be x.
struct ActivationBackwardArgs {
  DType dtype = DType::kF32;
  Activation function = Activation::kGelu;
  bool is_gated = false;
  int64_t rows = 0, cols = 0;  // of d_y
  const void* x = nullptr;
  const void* d_y = nullptr;
  void* d_x = nullptr;
  int64_t x_stride = 0, d_y_stride = 0, d_x_stride = 0;
  int num_threads = 1;  // set by activation_backward()
};
void activation_backward(ActivationBackwardArgs args, Exec& exec);

MG_DECLARE_PER_ISA(void activation(const ActivationArgs& args))
MG_DECLARE_PER_ISA(void activation_backward(const ActivationBackwardArgs& args))

}  // namespace megalith::cpu
