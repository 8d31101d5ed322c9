#pragma once
// defines: GroupedGemmArgs, grouped_gemm, group_offsets

#include <vector>

#include "megalith/ops/gemm.h"

namespace megalith {

/// One product for each expert e on its rows [offsets[e], offsets[e + 1]): y_e = x_e w_e^T, or y_e = x_e w_e
/// with transpose_w == kNo. Dtypes as for gemm. Experts without rows cost nothing.
struct GroupedGemmArgs {
  Tensor x;                     // [M, K]
  std::vector<Tensor> weights;  // [N, K] each; [K, N] with kNo
  Tensor offsets;               // [E + 1] i32
  Tensor y;                     // [M, N]
  Transpose transpose_w = Transpose::kYes;
};
void grouped_gemm(const GroupedGemmArgs& args, Exec& exec);

/// The ends of the groups on the host. Throws Error unless they ascend from 0 to `rows`.
std::vector<int64_t> group_offsets(const char* op, const Tensor& offsets, int64_t rows, Exec& exec);

}  // namespace megalith
