#pragma once
// defines: GroupedGemmArgs, grouped_gemm, GroupedWeightGradientArgs, grouped_weight_gradient

#include <vector>

#include "megalith/ops/gemm.h"

namespace megalith {

/// One product for each expert e on its rows [offsets[e], offsets[e + 1]): y_e = x_e w_e^T, or y_e = x_e w_e
/// with transpose_w == kNo. Dtypes as for gemm. Experts without rows cost nothing. The offsets ascend from 0
/// and may end before M; what lies behind them is neither read nor written. The CPU checks them; the host of
/// a GPU neither knows them nor waits for them.
struct GroupedGemmArgs {
  Tensor x;                     // [M, K]
  std::vector<Tensor> weights;  // [N, K] each; [K, N] with kNo
  Tensor offsets;               // [E + 1] i32
  Tensor y;                     // [M, N]
  Transpose transpose_w = Transpose::kYes;
};
void grouped_gemm(const GroupedGemmArgs& args, Exec& exec);

/// d_w_e = beta_e d_w_e + d_y_e^T x_e. Of an expert without rows zeros with beta 0, else nothing changes.
struct GroupedWeightGradientArgs {
  Tensor d_y;                     // [M, N]
  Tensor x;                       // [M, K]
  Tensor offsets;                 // [E + 1] i32
  std::vector<Tensor> d_weights;  // [N, K] each; dtype of x, or f32 for bf16
  std::vector<double> betas;      // [E], 0 or 1
};
void grouped_weight_gradient(const GroupedWeightGradientArgs& args, Exec& exec);

}  // namespace megalith
