#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/row_map.h"

namespace megalith::cuda {
namespace {

template <class T, int kCount>
struct PermuteRows {
  PermuteRowsArgs args;
  __device__ void operator()(int64_t row, int64_t vector) const {
    const int64_t col = vector * kCount;
    const int64_t from = args.from[row];
    if (from < -1) return;
    Vector<T, kCount> x{};
    if (from >= 0) x = load_vector<kCount>(static_cast<const T*>(args.x) + from * args.x_stride + col);
    *reinterpret_cast<Vector<T, kCount>*>(static_cast<T*>(args.out) + row * args.out_stride + col) = x;
  }
};

template <class T, int kCount>
struct CombineRows {
  cpu::CombineRowsArgs args;
  __device__ void operator()(int64_t row, int64_t vector) const {
    constexpr int kAhead = 4;  // on their way at a time
    const int64_t col = vector * kCount;
    const int32_t* to = args.to + row * args.terms;
    acc_t<T> sum[kCount] = {};
    for (int64_t first = 0; first < args.terms; first += kAhead) {
      Vector<T, kCount> x[kAhead];
      bool is_there[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int64_t from = first + i < args.terms ? to[first + i] : -1;
        is_there[i] = from >= 0;
        if (is_there[i])
          x[i] = load_vector<kCount>(static_cast<const T*>(args.x) + from * args.x_stride + col);
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (!is_there[i]) continue;
#pragma unroll
        for (int c = 0; c < kCount; ++c) sum[c] += to_acc(x[i].element[c]);
      }
    }
    store_acc(static_cast<T*>(args.out) + row * args.out_stride + col, sum);
  }
};

constexpr int kDotWarps = 8;

// A warp has a row.
template <class T, int kCount>
__global__ void row_dots_kernel(cpu::RowDotsArgs args) {
  const int64_t row = int64_t{blockIdx.x} * kDotWarps + threadIdx.y;
  if (row >= args.rows) return;
  const T* a = static_cast<const T*>(args.a) + row * args.a_stride;
  const T* b = static_cast<const T*>(args.b) + row * args.b_stride;
  acc_t<T> sum = 0;
  for (int64_t col = int64_t{threadIdx.x} * kCount; col < args.cols; col += kWarp * kCount) {
    acc_t<T> left[kCount], right[kCount];
    load_acc(a + col, left);
    load_acc(b + col, right);
#pragma unroll
    for (int c = 0; c < kCount; ++c) sum += left[c] * right[c];
  }
  sum = warp_sum(sum);
  if (threadIdx.x == 0) static_cast<acc_t<T>*>(args.out)[row] = sum;
}

}  // namespace

void permute_rows(const PermuteRowsArgs& args, Exec& exec) {
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    if (vectors_fit(kCount, sizeof(T), args.cols, {args.x_stride, args.out_stride}, {args.x, args.out}))
      return launch_rows(PermuteRows<T, kCount>{args}, args.rows, args.cols / kCount, exec);
    launch_rows(PermuteRows<T, 1>{args}, args.rows, args.cols, exec);
  });
}

void combine_rows(const cpu::CombineRowsArgs& args, Exec& exec) {
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    if (vectors_fit(kCount, sizeof(T), args.cols, {args.x_stride, args.out_stride}, {args.x, args.out}))
      return launch_rows(CombineRows<T, kCount>{args}, args.rows, args.cols / kCount, exec);
    launch_rows(CombineRows<T, 1>{args}, args.rows, args.cols, exec);
  });
}

void row_dots(const cpu::RowDotsArgs& args, Exec& exec) {
  if (args.rows == 0) return;
  const dim3 block(kWarp, kDotWarps);
  const auto grid = narrow<unsigned>(ceil_div<int64_t>(args.rows, kDotWarps));
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    if (vectors_fit(kCount, sizeof(T), args.cols, {args.a_stride, args.b_stride}, {args.a, args.b})) {
      row_dots_kernel<T, kCount><<<grid, block, 0, exec.cuda().stream()>>>(args);
    } else {
      row_dots_kernel<T, 1><<<grid, block, 0, exec.cuda().stream()>>>(args);
    }
  });
  MG_CUDA_LAUNCHED();
}

}  // namespace megalith::cuda
