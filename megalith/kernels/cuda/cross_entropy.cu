#include "megalith/kernels/cuda/cross_entropy.h"
#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"

namespace megalith::cuda {
namespace {

template <class T>
__device__ inline acc_t<T> exponential(acc_t<T> x) {
  if constexpr (sizeof(T) == 2) {
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

// Half of the largest block, and registers for three of them: several rows share a multiprocessor, and one's
// sums hide behind another's reads.
constexpr int kMaxThreads = 512;
constexpr int kMinBlocks = 3;

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

// Of a whole row, by the block; every thread gets it. Each calls keep(col, vector) for its vectors.
template <class T, int kCount, class Keep>
__device__ inline ExpSum<T> row_exp_sum(const T* x, int64_t columns, ExpSum<T>* shared, const Keep& keep) {
  using A = acc_t<T>;
  ExpSum<T> sum{-static_cast<A>(INFINITY), 0};
  const auto add_vector = [&](int64_t col, const Vector<T, kCount>& vector) {
    A value[kCount];
    keep(col, vector);
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
  for_each_batch<kCount>(x, int64_t{threadIdx.x} * kCount, int64_t{blockDim.x} * kCount, columns, add_vector);
  return block_exp_sum(sum, shared);
}

template <class T>
struct RowStatistics {
  ExpSum<T> sum;
  acc_t<T> label_logit;
};

// The shards' statistics of one row, joined in their order.
template <class T>
__device__ inline RowStatistics<T> join(const cpu::CrossEntropyRows& args, int64_t row) {
  using A = acc_t<T>;
  RowStatistics<T> joint{{-static_cast<A>(INFINITY), 0}, 0};
  const A* of_shard = static_cast<const A*>(args.statistics) + row;
  for (int64_t shard = 0; shard < args.num_shards; ++shard, of_shard += 3 * args.in.rows) {
    joint.sum.add({of_shard[0], of_shard[args.in.rows]});
    joint.label_logit += of_shard[2 * args.in.rows];
  }
  return joint;
}

// Place of the label in a row, or -1 where this shard does not hold it.
__device__ inline int64_t label_column(const cpu::LogitRows& in, int64_t row) {
  const int64_t column = in.labels[row] - in.first_label;
  return column >= 0 && column < in.columns ? column : -1;
}

// With kHoldsRow the row stays in shared memory between the two passes, each vector with its thread.
template <class T, int kCount, bool kHoldsRow>
__global__ __launch_bounds__(kMaxThreads, kMinBlocks) void cross_entropy_row(cpu::CrossEntropyRows args) {
  using A = acc_t<T>;
  using Words = Vector<T, kCount>;
  __shared__ ExpSum<T> shared[kWarp];
  extern __shared__ __align__(16) char row_memory[];
  Words* held = reinterpret_cast<Words*>(row_memory);
  const cpu::LogitRows& in = args.in;
  const int64_t row = blockIdx.x;
  const int64_t begin = int64_t{threadIdx.x} * kCount;
  const int64_t step = int64_t{blockDim.x} * kCount;
  const T* x = static_cast<const T*>(in.logits) + row * in.stride;
  T* d_x = args.d_logits == nullptr ? nullptr : static_cast<T*>(args.d_logits) + row * args.d_logits_stride;
  A* loss = static_cast<A*>(args.loss) + row;
  if (in.labels[row] < 0) {
    const A zeros[kCount] = {};
    if (threadIdx.x == 0) *loss = 0;
    if (d_x == nullptr) return;
    for (int64_t col = begin; col < in.columns; col += step) store_acc(d_x + col, zeros);
    return;
  }

  const int64_t label = label_column(in, row);
  const bool is_known = in.labels[row] < in.columns * args.num_shards;
  RowStatistics<T> statistics{};
  if (args.statistics == nullptr) {
    statistics.sum = row_exp_sum<T, kCount>(x, in.columns, shared, [&](int64_t col, const Words& vector) {
      if constexpr (kHoldsRow) held[col / kCount] = vector;
    });
    if (label >= 0) statistics.label_logit = to_acc(x[label]);
  } else {
    statistics = join<T>(args, row);
  }
  const ExpSum<T>& sum = statistics.sum;
  const A weight = args.loss_weights == nullptr ? A(1) : static_cast<const A*>(args.loss_weights)[row];
  const A scale = weight * static_cast<A>(args.d_loss);
  double exact_loss = static_cast<double>(NAN);
  if (threadIdx.x == 0) {
    if (is_known) {
      exact_loss = log(static_cast<double>(sum.total)) -
                   (static_cast<double>(statistics.label_logit) - static_cast<double>(sum.largest));
    }
    *loss = static_cast<A>(exact_loss);
  }
  if (d_x == nullptr) return;
  __syncthreads();  // d_logits may be the logits: the label's has been read
  const A factor = is_known ? scale / sum.total : static_cast<A>(NAN);
  const auto write_gradient = [&](int64_t col, const Words& vector) {
    A value[kCount];
    to_acc(vector, value);
#pragma unroll
    for (int i = 0; i < kCount; ++i) value[i] = exponential<T>(value[i] - sum.largest) * factor;
    store_acc(d_x + col, value);
  };
  if constexpr (kHoldsRow) {
#pragma unroll 4
    for (int64_t col = begin; col < in.columns; col += step) write_gradient(col, held[col / kCount]);
  } else {
    for_each_batch<kCount>(x, begin, step, in.columns, write_gradient);
  }
  __syncthreads();
  if (threadIdx.x == 0 && label >= 0) d_x[label] = from_acc<T>(scale * static_cast<A>(expm1(-exact_loss)));
}

template <class T, int kCount>
__global__ __launch_bounds__(kMaxThreads, kMinBlocks) void statistics_row(cpu::CrossEntropyStatistics args) {
  __shared__ ExpSum<T> shared[kWarp];
  const int64_t row = blockIdx.x;
  const T* x = static_cast<const T*>(args.in.logits) + row * args.in.stride;
  const auto ignore = [](int64_t, const Vector<T, kCount>&) {};
  const ExpSum<T> sum = row_exp_sum<T, kCount>(x, args.in.columns, shared, ignore);
  if (threadIdx.x != 0) return;
  const int64_t label = label_column(args.in, row);
  acc_t<T>* out = static_cast<acc_t<T>*>(args.out) + row;
  out[0] = sum.largest;
  out[args.in.rows] = sum.total;
  out[2 * args.in.rows] = label < 0 ? acc_t<T>(0) : to_acc(x[label]);
}

constexpr int kSumThreads = 1024;

template <class T>
__global__ __launch_bounds__(kSumThreads) void sum_products(const T* x, const T* weights, int64_t count,
                                                            double* out) {
  __shared__ double shared[kWarp];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kSumThreads)
    sum += static_cast<double>(x[i]) * static_cast<double>(weights[i]);
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) *out = sum;
}

int block_size(int64_t columns, int count) {
  return std::min(threads_for_row(columns / count), kMaxThreads);
}

}  // namespace

void cross_entropy(const cpu::CrossEntropyRows& args, Exec& exec) {
  const cpu::LogitRows& in = args.in;
  dispatch_device_float(in.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    const bool fits = vectors_fit(kCount, sizeof(T), in.columns, {in.stride, args.d_logits_stride},
                                  {in.logits, args.d_logits});
    const int64_t row_bytes = in.columns * static_cast<int64_t>(sizeof(T));
    const bool holds_row =
        fits && args.statistics == nullptr && args.d_logits != nullptr && row_bytes <= kMaxHeldRowBytes;
    const auto kernel = holds_row ? cross_entropy_row<T, kCount, true>
                        : fits    ? cross_entropy_row<T, kCount, false>
                                  : cross_entropy_row<T, 1, false>;
    const size_t shared_bytes = holds_row ? static_cast<size_t>(row_bytes) : 0;
    MG_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(shared_bytes)));
    kernel<<<narrow<unsigned>(in.rows), block_size(in.columns, fits ? kCount : 1), shared_bytes,
             exec.cuda().stream()>>>(args);
    MG_CUDA_LAUNCHED();
  });
}

void cross_entropy_statistics(const cpu::CrossEntropyStatistics& args, Exec& exec) {
  const cpu::LogitRows& in = args.in;
  dispatch_device_float(in.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    const bool fits = vectors_fit(kCount, sizeof(T), in.columns, {in.stride}, {in.logits});
    const auto kernel = fits ? statistics_row<T, kCount> : statistics_row<T, 1>;
    kernel<<<narrow<unsigned>(in.rows), block_size(in.columns, fits ? kCount : 1), 0, exec.cuda().stream()>>>(
        args);
    MG_CUDA_LAUNCHED();
  });
}

void weighted_sum(const cpu::WeightedSum& args, Exec& exec) {
  const auto launch = [&]<class T>() {
    sum_products<<<1, kSumThreads, 0, exec.cuda().stream()>>>(
        static_cast<const T*>(args.x), static_cast<const T*>(args.weights), args.count, args.out);
    MG_CUDA_LAUNCHED();
  };
  if (args.dtype == DType::kF64) return launch.template operator()<double>();
  launch.template operator()<float>();
}

}  // namespace megalith::cuda
