#include "megalith/kernels/cuda/vendor/gemm_plan.h"

#include <cstring>
#include <set>

#include "megalith/kernels/cuda/vendor/gemm_settings.h"

namespace megalith::cuda {
namespace {

cudaDataType_t cuda_type(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return CUDA_R_64F;
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kF16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

// `rows` and `columns` as the matrix lies, row by row.
cublasLtMatrixLayout_t row_major(DType dtype, int64_t rows, int64_t columns, int64_t row_stride) {
  cublasLtMatrixLayout_t layout = nullptr;
  MG_CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&layout, cuda_type(dtype), static_cast<uint64_t>(columns),
                                             static_cast<uint64_t>(rows), row_stride));
  return layout;
}

template <class T>
void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  MG_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value));
}

template <class T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
         const T& value) {
  MG_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value));
}

template <class T>
T get(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  T value{};
  cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, nullptr);
  return value;
}

GemmAlgorithm words_of(const cublasLtMatmulAlgo_t& algo) {
  GemmAlgorithm algorithm;
  std::memcpy(algorithm.words.data(), algo.data, sizeof algorithm.words);
  return algorithm;
}

}  // namespace

GemmPlan::GemmPlan(const GemmKey& key, const GemmTable& table, cublasLtHandle_t handle) : key_(key) {
  const bool is_f64 = key.dtype == DType::kF64;
  const cublasComputeType_t compute = is_f64        ? CUBLAS_COMPUTE_64F
                                      : key.is_tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                    : CUBLAS_COMPUTE_32F;
  MG_CUBLAS_CHECK(cublasLtMatmulDescCreate(&operation_, compute, is_f64 ? CUDA_R_64F : CUDA_R_32F));
  set(operation_, CUBLASLT_MATMUL_DESC_TRANSA, key.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(operation_, CUBLASLT_MATMUL_DESC_TRANSB, key.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (key.has_bias) {
    set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(operation_, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, cuda_type(key.out_dtype));
  }
  a_ = key.transpose_a ? row_major(key.dtype, key.k, key.m, key.a_stride)
                       : row_major(key.dtype, key.m, key.k, key.a_stride);
  b_ = key.transpose_b ? row_major(key.dtype, key.n, key.k, key.b_stride)
                       : row_major(key.dtype, key.k, key.n, key.b_stride);
  c_ = row_major(key.out_dtype, key.m, key.n, key.c_stride);

  if (const GemmAlgorithm* known = table.find(key); known != nullptr && use(*known, handle)) return;
  choice_ = ask(1, handle).front();
}

GemmPlan::~GemmPlan() {
  for (cublasLtMatrixLayout_t layout : {a_, b_, c_}) {
    if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
  }
  if (operation_ != nullptr) cublasLtMatmulDescDestroy(operation_);
}

void GemmPlan::run(const Call& call, cublasLtHandle_t handle) const {
  if (key_.has_bias) set(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, call.bias);
  const float alpha = static_cast<float>(call.alpha), beta = static_cast<float>(call.beta);
  const void* addend = call.addend != nullptr ? call.addend : call.c;
  const bool is_f64 = key_.dtype == DType::kF64;
  MG_CUBLAS_CHECK(cublasLtMatmul(handle, operation_, is_f64 ? static_cast<const void*>(&call.alpha) : &alpha,
                                 call.b, b_, call.a, a_,
                                 is_f64 ? static_cast<const void*>(&call.beta) : &beta, addend, c_, call.c,
                                 c_, &choice_.algo, call.workspace, choice_.workspaceSize, call.stream));
}

std::vector<cublasLtMatmulHeuristicResult_t> GemmPlan::ask(int count, cublasLtHandle_t handle) const {
  cublasLtMatmulPreference_t preference = nullptr;
  MG_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kGemmWorkspaceBytes));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(key_.b_alignment));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(key_.a_alignment));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(key_.c_alignment));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(key_.c_alignment));
  if (size_of(key_.out_dtype) == 2) {
    // Parts of a sum over k are not rounded to 16 bits before they are added.
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  }
  std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<size_t>(count));
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, operation_, b_, a_, c_, c_, preference,
                                                               count, results.data(), &found);
  cublasLtMatmulPreferenceDestroy(preference);
  MG_CHECK(
      status == CUBLAS_STATUS_SUCCESS && found > 0,
      "gemm: cuBLASLt has no algorithm for {} ({}); use sizes and strides that are multiples of 16 bytes",
      describe(), cublasLtGetStatusString(status));
  results.resize(static_cast<size_t>(found));
  return results;
}

std::vector<GemmAlgorithm> GemmPlan::candidates(int count, cublasLtHandle_t handle) const {
  std::vector<GemmAlgorithm> algorithms;
  for (const cublasLtMatmulHeuristicResult_t& result : ask(count, handle)) {
    if (result.state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(words_of(result.algo));
  }
  return algorithms;
}

std::vector<GemmPlan::Setting> GemmPlan::all_settings(int count, double max_waves,
                                                      cublasLtHandle_t handle) const {
  std::map<int, cublasLtMatmulAlgo_t> algorithms;
  std::set<uint16_t> clusters;
  for (const cublasLtMatmulHeuristicResult_t& result : ask(count, handle)) {
    algorithms.emplace(get<int>(result.algo, CUBLASLT_ALGO_CONFIG_ID), result.algo);
    clusters.insert(get<uint16_t>(result.algo, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID));
  }
  std::vector<Setting> settings;
  for (const auto& [id, algorithm] : algorithms) {
    every_setting(algorithm, [&](const cublasLtMatmulAlgo_t& algo) {
      if (!clusters.contains(get<uint16_t>(algo, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID))) return;
      const auto checked = check(algo, handle);
      if (!checked || checked->wavesCount > max_waves) return;
      settings.push_back({words_of(algo), {id, get<uint32_t>(algo, CUBLASLT_ALGO_CONFIG_TILE_ID)}});
    });
  }
  return settings;
}

std::optional<cublasLtMatmulHeuristicResult_t> GemmPlan::check(const cublasLtMatmulAlgo_t& algo,
                                                               cublasLtHandle_t handle) const {
  cublasLtMatmulHeuristicResult_t result{};
  if (cublasLtMatmulAlgoCheck(handle, operation_, b_, a_, c_, c_, &algo, &result) != CUBLAS_STATUS_SUCCESS ||
      result.workspaceSize > static_cast<size_t>(kGemmWorkspaceBytes)) {
    return std::nullopt;
  }
  result.algo = algo;  // the check leaves it out
  return result;
}

bool GemmPlan::use(const GemmAlgorithm& algorithm, cublasLtHandle_t handle) {
  cublasLtMatmulAlgo_t algo;
  std::memcpy(algo.data, algorithm.words.data(), sizeof algorithm.words);
  const auto checked = check(algo, handle);
  if (checked) choice_ = *checked;
  return checked.has_value();
}

GemmAlgorithm GemmPlan::algorithm() const {
  return words_of(choice_.algo);
}

std::string GemmPlan::describe() const {
  return fmt::format("{}x{}x{} {}{} {} -> {}{}{}, strides {} {} {}: {}", key_.m, key_.n, key_.k,
                     key_.transpose_a ? 'T' : 'N', key_.transpose_b ? 'T' : 'N', key_.operand_name(),
                     name_of(key_.out_dtype), key_.has_bias ? " + bias" : "", key_.reads_c ? " + C" : "",
                     key_.a_stride, key_.b_stride, key_.c_stride, describe_algorithm());
}

std::string GemmPlan::describe_algorithm() const {
  const cublasLtMatmulAlgo_t& algo = choice_.algo;
  return fmt::format(
      "algorithm {}, tile {}, stages {}, split-k {}, cluster {}, swizzle {}, custom {}, {} waves, workspace "
      "{}",
      get<int>(algo, CUBLASLT_ALGO_CONFIG_ID), get<uint32_t>(algo, CUBLASLT_ALGO_CONFIG_TILE_ID),
      get<uint32_t>(algo, CUBLASLT_ALGO_CONFIG_STAGES_ID),
      get<int32_t>(algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
      get<uint16_t>(algo, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID),
      get<uint32_t>(algo, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING),
      get<uint32_t>(algo, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION), choice_.wavesCount, choice_.workspaceSize);
}

}  // namespace megalith::cuda
