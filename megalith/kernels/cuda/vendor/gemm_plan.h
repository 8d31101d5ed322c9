#pragma once
// defines: GemmKey, GemmPlan, GemmPlans

#include <compare>
#include <map>
#include <memory>
#include <string>

#include "megalith/core/dtype.h"
#include "megalith/kernels/cuda/vendor/cublaslt.h"

namespace megalith::cuda {

/// Everything that an algorithm is chosen by.
struct GemmKey {
  int64_t m = 0, n = 0, k = 0;
  int64_t a_stride = 0, b_stride = 0, c_stride = 0;
  DType dtype = DType::kF32, out_dtype = DType::kF32;
  bool transpose_a = false, transpose_b = false, has_bias = false, reads_c = false;
  int a_alignment = 0, b_alignment = 0, c_alignment = 0, bias_alignment = 0;  ///< bytes, 16 at most
  auto operator<=>(const GemmKey&) const = default;
};

/// cuBLASLt's descriptors and algorithm for one key. cuBLAS counts by columns: a row-major matrix is its own
/// transpose there, so C^T = op(B)^T op(A)^T is what it is asked for, with our B in the place of its A.
class GemmPlan {
 public:
  GemmPlan(const GemmKey& key, cublasLtHandle_t handle, int64_t workspace_limit);
  ~GemmPlan();
  GemmPlan(const GemmPlan&) = delete;
  GemmPlan& operator=(const GemmPlan&) = delete;

  struct Call {
    const void* a = nullptr;
    const void* b = nullptr;
    void* c = nullptr;
    const void* bias = nullptr;
    double alpha = 1, beta = 0;
    void* workspace = nullptr;  // workspace_bytes()
    cudaStream_t stream = nullptr;
  };
  void run(const Call& call, cublasLtHandle_t handle) const;

  int64_t workspace_bytes() const { return static_cast<int64_t>(choice_.workspaceSize); }
  std::string describe() const;

 private:
  GemmKey key_;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr;
  cublasLtMatmulHeuristicResult_t choice_{};
};

using GemmPlans = std::map<GemmKey, std::unique_ptr<GemmPlan>>;

}  // namespace megalith::cuda
