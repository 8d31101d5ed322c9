#pragma once
// defines: WeightedActivationArgs, weighted_activation, WeightedActivationBackwardArgs,
// weighted_activation_backward

#include "megalith/kernels/cpu/activation.h"

namespace megalith::cuda {

// Formulas in ops/weighted_activation.h; contiguous rows, `cols` of them in y.

struct WeightedActivationArgs {
  DType dtype = DType::kF32;
  cpu::Activation function{};
  bool is_gated = false;
  int64_t rows = 0, cols = 0;
  const int32_t* num_rows = nullptr;  ///< or null: rows from this number on are left out
  const void* x = nullptr;
  const void* weights = nullptr;
  void* y = nullptr;
};
void weighted_activation(const WeightedActivationArgs& args, Exec& exec);

struct WeightedActivationBackwardArgs {
  DType dtype = DType::kF32;
  cpu::Activation function{};
  bool is_gated = false;
  int64_t rows = 0, cols = 0;
  const int32_t* num_rows = nullptr;  ///< or null: rows from this number on are left out
  const void* x = nullptr;
  const void* weights = nullptr;
  const void* d_y = nullptr;
  void* d_x = nullptr;
  void* d_weights = nullptr;  ///< or null
};
void weighted_activation_backward(const WeightedActivationBackwardArgs& args, Exec& exec);

}  // namespace megalith::cuda
