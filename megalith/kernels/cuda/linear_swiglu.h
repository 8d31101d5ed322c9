#pragma once
// defines: cuda::LinearSwigluArgs, cuda::takes_linear_swiglu, cuda::linear_swiglu,
// cuda::SwigluLinearBackwardArgs, cuda::takes_swiglu_linear_backward_input,
// cuda::swiglu_linear_backward_input

#include <cstdint>

#include "megalith/core/dtype.h"

namespace megalith {
class Exec;
}

namespace megalith::cuda {

/// pre = x weight^T, rounded; y = silu(gate) * linear of rows [gate | linear] of pre. All of one dtype;
/// strides in elements.
struct LinearSwigluArgs {
  DType dtype = DType::kBF16;
  int64_t tokens = 0, hidden = 0, ffn = 0;
  const void* x = nullptr;       // [tokens, hidden]
  const void* weight = nullptr;  // [2 ffn, hidden]
  void* pre = nullptr;           // [tokens, 2 ffn]
  void* y = nullptr;             // [tokens, ffn]
  int64_t x_stride = 0, weight_stride = 0, pre_stride = 0, y_stride = 0;
};

/// Both in one kernel, where takes_linear_swiglu: bf16 on Hopper, rows in vectors of 16 bytes, and so many
/// tiles that each multiprocessor makes several. The activation is computed of the tile in registers, so its
/// reading of pre falls away; y has the bits of cuda::activation on the pre that is written.
bool takes_linear_swiglu(const LinearSwigluArgs& args, Exec& exec);
void linear_swiglu(const LinearSwigluArgs& args, Exec& exec);

/// The gradient with respect to pre of out = swiglu(pre) weight^T: d_y = d_out weight, rounded, then the
/// activation's backward.
struct SwigluLinearBackwardArgs {
  DType dtype = DType::kBF16;
  int64_t tokens = 0, hidden = 0, ffn = 0;
  const void* d_out = nullptr;   // [tokens, hidden]
  const void* weight = nullptr;  // [hidden, ffn]
  const void* pre = nullptr;     // [tokens, 2 ffn]
  void* d_pre = nullptr;         // [tokens, 2 ffn]
  void* y = nullptr;             // [tokens, ffn] becomes swiglu(pre); or null
  int64_t d_out_stride = 0, weight_stride = 0, pre_stride = 0, d_pre_stride = 0, y_stride = 0;
};

/// Likewise: d_y is never in memory.
bool takes_swiglu_linear_backward_input(const SwigluLinearBackwardArgs& args, Exec& exec);
void swiglu_linear_backward_input(const SwigluLinearBackwardArgs& args, Exec& exec);

}  // namespace megalith::cuda
