#include "megalith/kernels/cpu/gemm.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include <cblas.h>

#include "megalith/base/math.h"
#include "megalith/kernels/cpu/gemm_bf16.h"

namespace megalith::cpu {
namespace {

template <class T>
void set_rows_to_bias(const GemmProblem& p) {
  T* c = static_cast<T*>(p.c);
  const T* bias = static_cast<const T*>(p.bias);
  for (int64_t i = 0; i < p.m; ++i) std::copy_n(bias, p.n, c + i * p.c_row_stride);
}

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

template <class T>
void gemm_blas(const GemmProblem& p) {
  double beta = p.beta;
  if (p.bias != nullptr) {
    set_rows_to_bias<T>(p);
    beta = 1;
  }
  const auto multiply = [] {
    if constexpr (std::is_same_v<T, double>) {
      return &cblas_dgemm;
    } else {
      return &cblas_sgemm;
    }
  }();
  multiply(CblasRowMajor, p.a.transpose ? CblasTrans : CblasNoTrans,
           p.b.transpose ? CblasTrans : CblasNoTrans, narrow<int>(p.m), narrow<int>(p.n), narrow<int>(p.k),
           static_cast<T>(p.alpha), static_cast<const T*>(p.a.data), narrow<int>(p.a.row_stride),
           static_cast<const T*>(p.b.data), narrow<int>(p.b.row_stride), static_cast<T>(beta),
           static_cast<T*>(p.c), narrow<int>(p.c_row_stride));
}

}  // namespace

void gemm(const GemmProblem& problem, Exec& exec) {
  if (problem.m == 0 || problem.n == 0) return;
  if (problem.k == 0) {
    dispatch_dtype<double, float, bf16>(problem.out_dtype, "gemm",
                                        [&]<class T>() { scale_rows<T>(problem); });
    return;
  }
  switch (problem.dtype) {
    case DType::kF64:
      return gemm_blas<double>(problem);
    case DType::kF32:
      return gemm_blas<float>(problem);
    case DType::kBF16:
      return gemm_bf16(problem, exec);
    default:
      fail("gemm: dtype {} is not supported; allowed: f64, f32, bf16", name_of(problem.dtype));
  }
}

}  // namespace megalith::cpu
