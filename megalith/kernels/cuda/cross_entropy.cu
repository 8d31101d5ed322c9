#include "megalith/kernels/cuda/cross_entropy.h"
#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"

namespace megalith::cuda {
namespace {

template <class T>
__device__ inline acc_t<T> exponential(acc_t<T> x) {
  if constexpr (std::is_same_v<T, Bf16>) {
    return __expf(x);
  } else {
    return exp(x);
  }
}

// The largest value and the sum of exp relative to it (Milakov and Gimelshein 2018).
template <class T>
struct ExpSum {
  acc_t<T> largest, total;
  __device__ void add(const ExpSum& other) {
    const acc_t<T> top = max(largest, other.largest);
    if (top == -static_cast<acc_t<T>>(INFINITY)) return;
    total = total * exponential<T>(largest - top) + other.total * exponential<T>(other.largest - top);
    largest = top;
  }
};

template <class T>
__device__ inline ExpSum<T> block_exp_sum(ExpSum<T> sum, ExpSum<T>* shared) {
  const auto across_warp = [&] {
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      sum.add({__shfl_xor_sync(0xffffffffu, sum.largest, offset),
               __shfl_xor_sync(0xffffffffu, sum.total, offset)});
    }
  };
  across_warp();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (lane == 0) shared[threadIdx.x / kWarp] = sum;
  __syncthreads();
  const bool has_warp = lane < static_cast<int>(blockDim.x) / kWarp;
  sum = has_warp ? shared[lane] : ExpSum<T>{-static_cast<acc_t<T>>(INFINITY), 0};
  across_warp();
  return sum;
}

// Half of the largest block: several rows share a multiprocessor, and one's sums hide behind another's reads.
constexpr int kMaxThreads = 512;

// Calls work(col, vector) for a thread's vectors of a row. Several are read before the first is worked on,
// which the compiler may not do itself, since work may write to the same row.
template <int kCount, class T, class Work>
__device__ inline void for_each_batch(const T* x, int64_t begin, int64_t step, int64_t columns,
                                      const Work& work) {
  constexpr int kBatch = 4;
  int64_t col = begin;
  for (; col + (kBatch - 1) * step < columns; col += kBatch * step) {
    Vector<T, kCount> vectors[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) vectors[i] = load_vector<kCount>(x + col + i * step);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) work(col + i * step, vectors[i]);
  }
  for (; col < columns; col += step) work(col, load_vector<kCount>(x + col));
}

template <class T, int kCount>
__global__ __launch_bounds__(kMaxThreads) void cross_entropy_row(cpu::CrossEntropyRows args) {
  using A = acc_t<T>;
  __shared__ ExpSum<T> shared[kWarp];
  const int64_t row = blockIdx.x;
  const int64_t begin = int64_t{threadIdx.x} * kCount;
  const int64_t step = int64_t{blockDim.x} * kCount;
  const T* x = static_cast<const T*>(args.logits) + row * args.logits_stride;
  T* d_x = args.d_logits == nullptr ? nullptr : static_cast<T*>(args.d_logits) + row * args.d_logits_stride;
  A* loss = static_cast<A*>(args.loss) + row;
  const int32_t label = args.labels[row];
  if (label < 0) {
    const A zeros[kCount] = {};
    if (threadIdx.x == 0) *loss = 0;
    if (d_x == nullptr) return;
    for (int64_t col = begin; col < args.columns; col += step) store_acc(d_x + col, zeros);
    return;
  }

  ExpSum<T> sum{-static_cast<A>(INFINITY), 0};
  const auto add_vector = [&](const Vector<T, kCount>& vector) {
    A value[kCount];
    to_acc(vector, value);
    A top = sum.largest;
#pragma unroll
    for (int i = 0; i < kCount; ++i) top = value[i] > top ? value[i] : top;
    if (top == -static_cast<A>(INFINITY)) {
      // Only minus infinity so far adds nothing, but NaN must show.
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum.total += value[i] == top ? A(0) : value[i];
      return;
    }
    A total = sum.total * exponential<T>(sum.largest - top);
#pragma unroll
    for (int i = 0; i < kCount; ++i) total += exponential<T>(value[i] - top);
    sum = {top, total};
  };
  for_each_batch<kCount>(x, begin, step, args.columns,
                         [&](int64_t, const Vector<T, kCount>& vector) { add_vector(vector); });
  sum = block_exp_sum(sum, shared);

  const bool is_known = label < args.columns;
  double exact_loss = static_cast<double>(NAN);
  if (threadIdx.x == 0) {
    if (is_known) {
      exact_loss = log(static_cast<double>(sum.total)) -
                   (static_cast<double>(to_acc(x[label])) - static_cast<double>(sum.largest));
    }
    *loss = static_cast<A>(exact_loss);
  }
  if (d_x == nullptr) return;
  __syncthreads();  // d_logits may be the logits: the label's has been read
  const A factor = is_known ? 1 / sum.total : static_cast<A>(NAN);
  for_each_batch<kCount>(x, begin, step, args.columns, [&](int64_t col, const Vector<T, kCount>& vector) {
    A value[kCount];
    to_acc(vector, value);
#pragma unroll
    for (int i = 0; i < kCount; ++i) value[i] = exponential<T>(value[i] - sum.largest) * factor;
    store_acc(d_x + col, value);
  });
  __syncthreads();
  if (threadIdx.x == 0 && is_known) d_x[label] = from_acc<T>(static_cast<A>(expm1(-exact_loss)));
}

template <class T, int kCount>
void launch(const cpu::CrossEntropyRows& args, Exec& exec) {
  const int threads = std::min(threads_for_row(args.columns / kCount), kMaxThreads);
  cross_entropy_row<T, kCount><<<narrow<unsigned>(args.rows), threads, 0, exec.cuda().stream()>>>(args);
  MG_CUDA_LAUNCHED();
}

}  // namespace

void cross_entropy(const cpu::CrossEntropyRows& args, Exec& exec) {
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    const bool fits = vectors_fit(kCount, sizeof(T), args.columns, {args.logits_stride, args.d_logits_stride},
                                  {args.logits, args.d_logits});
    if (fits) return launch<T, kCount>(args, exec);
    launch<T, 1>(args, exec);
  });
}

}  // namespace megalith::cuda
