#include "megalith/kernels/cuda/vendor/gemm_settings.h"

#include <vector>

namespace megalith::cuda {
namespace {

template <class T>
T cap(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoCapAttributes_t attribute) {
  T value{};
  size_t written = 0;
  MG_CUBLAS_CHECK(cublasLtMatmulAlgoCapGetAttribute(&algorithm, attribute, &value, sizeof value, &written));
  return value;
}

// An algorithm without a choice takes 0, "undefined".
std::vector<uint32_t> cap_list(const cublasLtMatmulAlgo_t& algorithm,
                               cublasLtMatmulAlgoCapAttributes_t attribute) {
  size_t bytes = 0;
  MG_CUBLAS_CHECK(cublasLtMatmulAlgoCapGetAttribute(&algorithm, attribute, nullptr, 0, &bytes));
  std::vector<uint32_t> values(bytes / sizeof(uint32_t));
  if (values.empty()) return {0};
  MG_CUBLAS_CHECK(cublasLtMatmulAlgoCapGetAttribute(&algorithm, attribute, values.data(), bytes, &bytes));
  return values;
}

template <class T>
void set(cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute, T value) {
  MG_CUBLAS_CHECK(cublasLtMatmulAlgoConfigSetAttribute(&algorithm, attribute, &value, sizeof value));
}

}  // namespace

void every_setting(const cublasLtMatmulAlgo_t& algorithm,
                   const std::function<void(const cublasLtMatmulAlgo_t&)>& visit) {
  cublasLtMatmulAlgo_t s = algorithm;
  const auto max_custom = static_cast<uint32_t>(cap<int32_t>(s, CUBLASLT_ALGO_CAP_CUSTOM_OPTION_MAX));
  const auto max_swizzle = cap<uint32_t>(s, CUBLASLT_ALGO_CAP_CTA_SWIZZLING_SUPPORT);
  const std::vector<uint32_t> all_stages = cap_list(s, CUBLASLT_ALGO_CAP_STAGES_IDS);
  set<int32_t>(s, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 1);
  set<uint32_t>(s, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, CUBLASLT_REDUCTION_SCHEME_NONE);
  for (const uint32_t tile : cap_list(s, CUBLASLT_ALGO_CAP_TILE_IDS)) {
    set<uint32_t>(s, CUBLASLT_ALGO_CONFIG_TILE_ID, tile);
    for (const uint32_t stages : all_stages) {
      set<uint32_t>(s, CUBLASLT_ALGO_CONFIG_STAGES_ID, stages);
      for (uint16_t cluster = CUBLASLT_CLUSTER_SHAPE_AUTO; cluster < CUBLASLT_CLUSTER_SHAPE_END; ++cluster) {
        set<uint16_t>(s, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, cluster);
        for (uint32_t swizzle = 0; swizzle <= max_swizzle; ++swizzle) {
          set<uint32_t>(s, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, swizzle);
          for (uint32_t custom = 0; custom <= max_custom; ++custom) {
            set<uint32_t>(s, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, custom);
            visit(s);
          }
        }
      }
    }
  }
}

}  // namespace megalith::cuda
