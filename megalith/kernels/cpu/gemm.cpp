#include "megalith/kernels/cpu/gemm.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include <cblas.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "megalith/base/math.h"
#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/gemm_bf16.h"
#include "megalith/kernels/cpu/gemm_rows.h"
#include "megalith/kernels/cpu/gemm_split.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {
namespace {

template <class T>
void set_rows_to_bias(const GemmProblem& p) {
  T* c = static_cast<T*>(p.c);
  const T* bias = static_cast<const T*>(p.bias);
  for (int64_t i = 0; i < p.m; ++i) std::copy_n(bias, p.n, c + i * p.c_row_stride);
}

// While it lives, OpenBLAS computes in the calling thread.
class OneBlasThread {
 public:
#ifdef _OPENMP
  OneBlasThread() : saved_(omp_get_max_threads()) {
    omp_set_num_threads(1);
  }
  ~OneBlasThread() {
    omp_set_num_threads(saved_);
  }
#else
  OneBlasThread() {}
#endif
  OneBlasThread(const OneBlasThread&) = delete;
  OneBlasThread& operator=(const OneBlasThread&) = delete;

 private:
#ifdef _OPENMP
  int saved_;
#endif
};

// Without terms to sum over: C = beta * C + bias.
template <class T>
void scale_rows(const GemmProblem& p) {
  using Sum = accumulate_t<T>;
  if (p.bias != nullptr) return set_rows_to_bias<T>(p);
  T* c = static_cast<T*>(p.c);
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) {
      T& value = c[i * p.c_row_stride + j];
      value = p.beta == 0 ? T(Sum{0}) : T(static_cast<Sum>(p.beta) * static_cast<Sum>(value));
    }
  }
}

// The part of an operand that starts at this row and column of op(operand).
template <class T>
const T* part_of(const GemmOperand& operand, int64_t row, int64_t column) {
  if (operand.transpose) std::swap(row, column);
  return static_cast<const T*>(operand.data) + row * operand.row_stride + column;
}

template <class T>
void multiply(const GemmProblem& p) {
  const OneBlasThread one_thread;
  double beta = p.beta;
  if (p.bias != nullptr) {
    set_rows_to_bias<T>(p);
    beta = 1;
  }
  const auto blas = [] {
    if constexpr (std::is_same_v<T, double>) {
      return &cblas_dgemm;
    } else {
      return &cblas_sgemm;
    }
  }();
  blas(CblasRowMajor, p.a.transpose ? CblasTrans : CblasNoTrans, p.b.transpose ? CblasTrans : CblasNoTrans,
       narrow<int>(p.m), narrow<int>(p.n), narrow<int>(p.k), static_cast<T>(p.alpha),
       static_cast<const T*>(p.a.data), narrow<int>(p.a.row_stride), static_cast<const T*>(p.b.data),
       narrow<int>(p.b.row_stride), static_cast<T>(beta), static_cast<T*>(p.c), narrow<int>(p.c_row_stride));
}

template <class T>
void gemm_blas(const GemmProblem& p, Exec& exec) {
  const GemmSplit split = split_gemm(p.m, p.n, p.k);
  const int64_t tiles = split.row_parts * split.column_parts;
  [[maybe_unused]] const int num_threads = static_cast<int>(std::min<int64_t>(exec.num_threads(), tiles));
#pragma omp parallel for num_threads(num_threads) schedule(dynamic)
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t row = tile % split.row_parts * split.tile_rows;
    const int64_t column = tile / split.row_parts * split.tile_columns;
    GemmProblem part = p;
    part.m = std::min(split.tile_rows, p.m - row);
    part.n = std::min(split.tile_columns, p.n - column);
    part.a.data = part_of<T>(p.a, row, 0);
    part.b.data = part_of<T>(p.b, 0, column);
    part.c = static_cast<T*>(p.c) + row * p.c_row_stride + column;
    if (p.bias != nullptr) part.bias = static_cast<const T*>(p.bias) + column;
    multiply<T>(part);
  }
}

}  // namespace

void gemm(const GemmProblem& problem, Exec& exec) {
  if (problem.m == 0 || problem.n == 0) return;
  if (problem.k == 0) {
    dispatch_dtype<double, float, bf16>(problem.out_dtype, "gemm",
                                        [&]<class T>() { scale_rows<T>(problem); });
    return;
  }
  if (problem.m <= kMaxGemmRows && !problem.a.transpose && problem.b.transpose) {
    const int num_threads = threads_for(problem.n * problem.k, exec.num_threads());
    return MG_ISA_FUNCTION(exec.isa(), gemm_rows)(problem, num_threads);
  }
  switch (problem.dtype) {
    case DType::kF64:
      return gemm_blas<double>(problem, exec);
    case DType::kF32:
      return gemm_blas<float>(problem, exec);
    case DType::kBF16:
      return gemm_bf16(problem, exec);
    default:
      fail("gemm: dtype {} is not supported; allowed: f64, f32, bf16", name_of(problem.dtype));
  }
}

}  // namespace megalith::cpu
