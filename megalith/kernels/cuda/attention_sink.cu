#include "megalith/kernels/cuda/attention_sink.h"
#include "megalith/kernels/cuda/device/column_sums.cuh"
#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"

namespace megalith::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kChunkRows = 128;  // that one block of the backward sums

// The place of one query of a head.
struct HeadPlace {
  __device__ HeadPlace(const cpu::AttentionSinkProblem& p, int64_t row, int64_t head_index)
      : b(row / p.seq), s(row % p.seq), head(head_index), of_lse((b * p.heads + head) * p.seq + s) {}
  template <class T>
  __device__ T* in(const cpu::HeadRows& rows) const {
    return static_cast<T*>(rows.data) + b * rows.batch_stride + s * rows.token_stride +
           head * rows.head_stride;
  }
  int64_t b, s, head, of_lse;
};

template <class T>
__device__ acc_t<T> sink_of(const cpu::AttentionSinkProblem& p, int64_t head) {
  return p.sink == nullptr ? acc_t<T>(0) : to_acc(static_cast<const T*>(p.sink)[head]);
}

// `lanes` threads of a warp share a query of the head blockIdx.y; all of them read its lse before one writes.
template <class T, int kCount>
__global__ void join_kernel(cpu::AttentionSinkProblem p, int lanes) {
  using A = acc_t<T>;
  let_next_begin();
  wait_for_last();
  const int64_t row = int64_t{blockIdx.x} * (kThreads / lanes) + threadIdx.x / lanes;
  const bool is_there = row < p.batch * p.seq;
  const HeadPlace place(p, is_there ? row : 0, blockIdx.y);
  const A sink = sink_of<T>(p, place.head), lse = static_cast<const A*>(p.lse)[place.of_lse];
  __syncwarp();
  if (!is_there) return;
  const A kept = 1 / (1 + exp(sink - lse));
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  T* out = place.in<T>(p.out);
  for (int64_t d = int64_t{lane} * kCount; d < p.dim; d += int64_t{lanes} * kCount) {
    A values[kCount];
    load_acc(out + d, values);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] *= kept;
    store_acc(out + d, values);
  }
  if (lane != 0) return;
  const A larger = sink > lse ? sink : lse, smaller = sink > lse ? lse : sink;
  static_cast<A*>(p.lse)[place.of_lse] = larger + log1p(exp(smaller - larger));
}

// A block sums kChunkRows queries of the head blockIdx.y.
template <class T, int kCount>
__global__ void __launch_bounds__(kThreads)
    sum_kernel(cpu::AttentionSinkProblem p, cpu::HeadRows d_out, int lanes, acc_t<T>* partials) {
  using A = acc_t<T>;
  __shared__ A shared[kWarp];
  const int64_t begin = int64_t{blockIdx.x} * kChunkRows;
  const int64_t end = min(begin + kChunkRows, p.batch * p.seq);
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const A sink = sink_of<T>(p, blockIdx.y);
  A sum = 0;
#pragma unroll 4
  for (int64_t row = begin + threadIdx.x / lanes; row < end; row += kThreads / lanes) {
    const HeadPlace place(p, row, blockIdx.y);
    A dot = 0;
    for (int64_t d = int64_t{lane} * kCount; d < p.dim; d += int64_t{lanes} * kCount) {
      A x[kCount], dx[kCount];
      load_acc(place.in<const T>(p.out) + d, x);
      load_acc(place.in<const T>(d_out) + d, dx);
#pragma unroll
      for (int i = 0; i < kCount; ++i) dot += x[i] * dx[i];
    }
    sum -= exp(sink - static_cast<const A*>(p.lse)[place.of_lse]) * dot;
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) partials[int64_t{blockIdx.x} * p.heads + blockIdx.y] = sum;
}

/// Calls launch.operator()<kCount>(lanes) with vectors that fit all the rows.
template <class T, class Launch>
void with_vectors(const cpu::AttentionSinkProblem& p, std::initializer_list<cpu::HeadRows> rows,
                  const Launch& launch) {
  constexpr int kWide = kVectorBytes / static_cast<int>(sizeof(T));
  bool fits = true;
  for (const cpu::HeadRows& each : rows)
    fits = fits && vectors_fit(kWide, sizeof(T), p.dim,
                               {each.batch_stride, each.token_stride, each.head_stride}, {each.data});
  const auto lanes = [&](int64_t count) {
    const int64_t vectors = std::min<int64_t>(ceil_div(p.dim, count), kWarp);
    return static_cast<int>(std::bit_ceil(static_cast<uint64_t>(vectors)));
  };
  if (fits)
    launch.template operator()<kWide>(lanes(kWide));
  else
    launch.template operator()<1>(lanes(1));
}

}  // namespace

void attention_sink(const cpu::AttentionSinkProblem& p, Exec& exec) {
  dispatch_device_float(p.dtype, [&]<class T>() {
    with_vectors<T>(p, {p.out}, [&]<int kCount>(int lanes) {
      const dim3 grid(narrow<unsigned>(ceil_div<int64_t>(p.batch * p.seq, kThreads / lanes)),
                      narrow<unsigned>(p.heads));
      MG_CUDA_CHECK(
          launch_early(join_kernel<T, kCount>, grid, dim3(kThreads), 0, exec.cuda().stream(), p, lanes));
    });
  });
}

void attention_sink_backward(const cpu::AttentionSinkProblem& p, const cpu::AttentionSinkGradient& g,
                             Exec& exec) {
  dispatch_device_float(p.dtype, [&]<class T>() {
    using A = acc_t<T>;
    const int64_t chunks = ceil_div(p.batch * p.seq, kChunkRows);
    ScratchFrame frame(exec.scratch());
    A* partials = frame.take<A>(chunks * p.heads, "attention_sink partials");
    if (chunks > 0 && p.heads > 0) {
      with_vectors<T>(p, {p.out, g.d_out}, [&]<int kCount>(int lanes) {
        const dim3 grid(narrow<unsigned>(chunks), narrow<unsigned>(p.heads));
        sum_kernel<T, kCount><<<grid, kThreads, 0, exec.cuda().stream()>>>(p, g.d_out, lanes, partials);
        MG_CUDA_LAUNCHED();
      });
    }
    dispatch_gradient<T>(g.sink_dtype, [&]<class Gradient>() {
      sum_partials(partials, chunks, p.heads, g.accumulate, static_cast<Gradient*>(g.d_sink), exec);
    });
  });
}

}  // namespace megalith::cuda
