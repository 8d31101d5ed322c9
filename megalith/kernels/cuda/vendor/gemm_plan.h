#pragma once
// defines: GemmTile, GemmPlan, GemmPlans

#include <compare>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "megalith/kernels/cuda/vendor/cublaslt.h"
#include "megalith/kernels/cuda/vendor/gemm_key.h"
#include "megalith/kernels/cuda/vendor/gemm_table.h"

namespace megalith::cuda {

/// What cuBLASLt may take beside the operands.
inline constexpr int64_t kGemmWorkspaceBytes = int64_t{32} << 20;

/// cuBLASLt's numbers of an algorithm and of the tile that a block computes.
struct GemmTile {
  int algorithm = 0;
  uint32_t tile = 0;
  auto operator<=>(const GemmTile&) const = default;
};

/// cuBLASLt's descriptors and algorithm for one key. cuBLAS counts by columns: a row-major matrix is its own
/// transpose there, so C^T = op(B)^T op(A)^T is what it is asked for, with our B in the place of its A.
class GemmPlan {
 public:
  /// Takes the algorithm of the table, or else cuBLASLt's first choice.
  GemmPlan(const GemmKey& key, const GemmTable& table, cublasLtHandle_t handle);
  ~GemmPlan();
  GemmPlan(const GemmPlan&) = delete;
  GemmPlan& operator=(const GemmPlan&) = delete;

  struct Call {
    const void* a = nullptr;
    const void* b = nullptr;
    void* c = nullptr;
    const void* bias = nullptr;
    const void* addend = nullptr;  // what beta multiplies; null: c
    double alpha = 1, beta = 0;
    void* workspace = nullptr;  // workspace_bytes()
    cudaStream_t stream = nullptr;
  };
  void run(const Call& call, cublasLtHandle_t handle) const;

  /// The best `count` by cuBLASLt's own estimate, in its order.
  std::vector<GemmAlgorithm> candidates(int count, cublasLtHandle_t handle) const;
  struct Setting {
    GemmAlgorithm algorithm;
    GemmTile tile;
  };
  /// All settings (gemm_settings.h) of the algorithms among the best `count`, with the shapes of clusters
  /// among these, that the library takes for this product and that need at most `max_waves` of blocks.
  std::vector<Setting> all_settings(int count, double max_waves, cublasLtHandle_t handle) const;
  /// False, and nothing changes, when the library does not take the algorithm for this product.
  bool use(const GemmAlgorithm& algorithm, cublasLtHandle_t handle);
  GemmAlgorithm algorithm() const;

  const GemmKey& key() const { return key_; }
  /// How many times the algorithm's blocks fill the GPU.
  double waves() const { return choice_.wavesCount; }
  int64_t workspace_bytes() const { return static_cast<int64_t>(choice_.workspaceSize); }
  std::string describe() const;
  std::string describe_algorithm() const;

 private:
  std::vector<cublasLtMatmulHeuristicResult_t> ask(int count, cublasLtHandle_t handle) const;
  /// Workspace and waves of an algorithm that the library takes.
  std::optional<cublasLtMatmulHeuristicResult_t> check(const cublasLtMatmulAlgo_t& algo,
                                                       cublasLtHandle_t handle) const;

  GemmKey key_;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr;
  cublasLtMatmulHeuristicResult_t choice_{};
};

/// All plans of an Exec.
struct GemmPlans {
  std::map<GemmKey, std::unique_ptr<GemmPlan>> plans;
  std::optional<GemmTable> table;  // read when the first plan is made
  bool allows_tf32 = false;
};

}  // namespace megalith::cuda
