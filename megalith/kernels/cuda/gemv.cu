#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/gemv.h"

namespace megalith::cuda {
namespace {

constexpr int kMaxRows = 4;
constexpr int kWarps = 8;   // of a block, a column of C each
constexpr int kAtOnce = 8;  // vectors of the weight on their way to one thread

struct Args {
  const void* a;
  const void* b;
  const void* bias;    // of Out, or null
  const void* addend;  // of Out, as far apart as C, or null
  void* c;
  int64_t n, k, a_stride, b_stride, c_stride;
  float alpha, beta;
};

// While the kernel before runs to its end, the row of the weight comes into the L2 cache, in which it stays
// right even where that kernel writes it.
template <class T>
__device__ inline void prefetch(const T* row, int64_t count, int64_t lane) {
  constexpr int64_t kLine = 128 / sizeof(T);
  for (int64_t place = lane * kLine; place < count; place += kWarp * kLine)
    asm volatile("prefetch.global.L2 [%0];" ::"l"(row + place));
}

template <class T, class Out, int kRows>
__global__ __launch_bounds__(kWarps* kWarp) void gemv_kernel(Args args) {
  constexpr int kCount = kVectorBytes / sizeof(T);
  constexpr int64_t kStep = kWarp * kCount;
  const int64_t column = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  const int64_t lane = threadIdx.x % kWarp;
  const T* a = static_cast<const T*>(args.a);
  const T* b = static_cast<const T*>(args.b) + column * args.b_stride;
  let_next_begin();
  if (column < args.n) prefetch(b, args.k, lane);
  wait_for_last();
  if (column >= args.n) return;
  float sums[kRows] = {};
  for (int64_t first = lane * kCount; first < args.k; first += kAtOnce * kStep) {
    Vector<T, kCount> weight[kAtOnce] = {};
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i * kStep < args.k) {
        const int4 word = __ldcs(reinterpret_cast<const int4*>(b + first + i * kStep));
        weight[i] = *reinterpret_cast<const Vector<T, kCount>*>(&word);
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int64_t k = first + i * kStep;
      if (k >= args.k) break;
#pragma unroll
      for (int row = 0; row < kRows; ++row) {
        float x[kCount];
        load_acc(a + row * args.a_stride + k, x);
#pragma unroll
        for (int e = 0; e < kCount; ++e) sums[row] += x[e] * to_acc(weight[i].element[e]);
      }
    }
  }
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    float sum = args.alpha * warp_sum(sums[row]);
    if (lane != 0) continue;
    if (args.bias != nullptr) sum += to_acc(static_cast<const Out*>(args.bias)[column]);
    if (args.addend != nullptr)
      sum += args.beta * to_acc(static_cast<const Out*>(args.addend)[row * args.c_stride + column]);
    static_cast<Out*>(args.c)[row * args.c_stride + column] = from_acc<Out>(sum);
  }
}

template <class T, class Out>
void launch(const cpu::GemmProblem& p, Exec& exec) {
  const Args args{.a = p.a.data,
                  .b = p.b.data,
                  .bias = p.bias,
                  .addend = p.beta == 0           ? nullptr
                            : p.addend != nullptr ? p.addend
                                                  : p.c,
                  .c = p.c,
                  .n = p.n,
                  .k = p.k,
                  .a_stride = p.a.row_stride,
                  .b_stride = p.b.row_stride,
                  .c_stride = p.c_row_stride,
                  .alpha = static_cast<float>(p.alpha),
                  .beta = static_cast<float>(p.beta)};
  auto* kernel = p.m == 1   ? gemv_kernel<T, Out, 1>
                 : p.m == 2 ? gemv_kernel<T, Out, 2>
                 : p.m == 3 ? gemv_kernel<T, Out, 3>
                            : gemv_kernel<T, Out, kMaxRows>;
  const auto blocks = narrow<unsigned>(ceil_div<int64_t>(p.n, kWarps));
  MG_CUDA_CHECK(launch_early(kernel, blocks, kWarps * kWarp, 0, exec.cuda().stream(), args));
}

}  // namespace

bool takes_gemv(const cpu::GemmProblem& p) {
  const bool has_types = (p.dtype == DType::kBF16 || p.dtype == DType::kF32) &&
                         (p.out_dtype == p.dtype || p.out_dtype == DType::kF32);
  if (!has_types || p.m > kMaxRows || p.a.transpose || !p.b.transpose) return false;
  const auto size = static_cast<int64_t>(size_of(p.dtype));
  return vectors_fit(static_cast<int>(kVectorBytes / size), size, p.k, {p.a.row_stride, p.b.row_stride},
                     {p.a.data, p.b.data});
}

void gemv(const cpu::GemmProblem& p, Exec& exec) {
  if (p.dtype == DType::kF32) return launch<float, float>(p, exec);
  if (p.out_dtype == DType::kF32) return launch<Bf16, float>(p, exec);
  launch<Bf16, Bf16>(p, exec);
}

}  // namespace megalith::cuda
