#include "megalith/kernels/cpu/gemm_rows.h"

#include "megalith/kernels/cpu/dot_products.h"
#include "megalith/kernels/cpu/float_types.h"

namespace megalith::cpu::MG_ISA {
namespace {

template <class T, class Out, int kColumns>
void compute_columns(const GemmProblem& p, int64_t column) {
  using Sum = accumulate_t<T>;
  const T* b = static_cast<const T*>(p.b.data) + column * p.b.row_stride;
  const Out* bias = p.bias == nullptr ? nullptr : static_cast<const Out*>(p.bias) + column;
  for (int64_t i = 0; i < p.m; ++i) {
    Sum sums[kColumns];
    dot_rows<kColumns>(static_cast<const T*>(p.a.data) + i * p.a.row_stride, b, p.b.row_stride, p.k, sums);
    Out* c = static_cast<Out*>(p.c) + i * p.c_row_stride + column;
    for (int j = 0; j < kColumns; ++j) {
      Sum sum = static_cast<Sum>(p.alpha) * sums[j];
      if (p.beta != 0) sum += static_cast<Sum>(p.beta) * static_cast<Sum>(c[j]);
      if (bias != nullptr) sum += static_cast<Sum>(bias[j]);
      c[j] = Out(sum);
    }
  }
}

template <class T, class Out>
void run(const GemmProblem& p, [[maybe_unused]] int num_threads) {
  constexpr int64_t kColumns = 4;
  const int64_t blocks = (p.n + kColumns - 1) / kColumns;
#pragma omp parallel for num_threads(num_threads) schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t begin = block * kColumns;
    if (begin + kColumns <= p.n) {
      compute_columns<T, Out, kColumns>(p, begin);
    } else {
      for (int64_t column = begin; column < p.n; ++column) compute_columns<T, Out, 1>(p, column);
    }
  }
}

}  // namespace

void gemm_rows(const GemmProblem& problem, int num_threads) {
  if (problem.dtype == DType::kBF16 && problem.out_dtype == DType::kF32)
    return run<bf16, float>(problem, num_threads);
  if (problem.dtype == DType::kF16 && problem.out_dtype == DType::kF32)
    return run<f16, float>(problem, num_threads);
  dispatch_float(problem.dtype, [&]<class T>() { run<T, T>(problem, num_threads); });
}

}  // namespace megalith::cpu::MG_ISA
