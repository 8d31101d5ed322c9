#include "megalith/kernels/cpu/gemm_rows.h"

#include "megalith/kernels/cpu/float_types.h"
#include "megalith/kernels/cpu/simd_vector.h"

namespace megalith::cpu::MG_ISA {
namespace {

// Two sums hide the latency of the addition.
template <class T>
[[gnu::always_inline]] inline accumulate_t<T> dot(const T* a, const T* b, int64_t count) {
  using Sum = accumulate_t<T>;
  constexpr int64_t kWidth = kLanes<Sum>;
  Vec<Sum> even{}, odd{};
  int64_t i = 0;
  for (; i + 2 * kWidth <= count; i += 2 * kWidth) {
    even += load_vector(a + i) * load_vector(b + i);
    odd += load_vector(a + i + kWidth) * load_vector(b + i + kWidth);
  }
  Sum sum = sum_lanes<Sum>(even + odd);
  for (; i < count; ++i) sum += static_cast<Sum>(a[i]) * static_cast<Sum>(b[i]);
  return sum;
}

template <class T, class Out>
void run(const GemmProblem& p, int num_threads) {
  using Sum = accumulate_t<T>;
  const T* a = static_cast<const T*>(p.a.data);
  const T* b = static_cast<const T*>(p.b.data);
  Out* c = static_cast<Out*>(p.c);
  const Out* bias = static_cast<const Out*>(p.bias);
#pragma omp parallel for num_threads(num_threads) schedule(static)
  for (int64_t j = 0; j < p.n; ++j) {
    for (int64_t i = 0; i < p.m; ++i) {
      Out& target = c[i * p.c_row_stride + j];
      Sum sum = static_cast<Sum>(p.alpha) * dot(a + i * p.a.row_stride, b + j * p.b.row_stride, p.k);
      if (p.beta != 0) sum += static_cast<Sum>(p.beta) * static_cast<Sum>(target);
      if (bias != nullptr) sum += static_cast<Sum>(bias[j]);
      target = Out(sum);
    }
  }
}

}  // namespace

void gemm_rows(const GemmProblem& problem, int num_threads) {
  if (problem.dtype == DType::kBF16 && problem.out_dtype == DType::kF32)
    return run<bf16, float>(problem, num_threads);
  dispatch_float(problem.dtype, [&]<class T>() { run<T, T>(problem, num_threads); });
}

}  // namespace megalith::cpu::MG_ISA
