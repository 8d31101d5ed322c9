#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/elementwise.h"

namespace megalith::cuda {
namespace {

template <class T, int kCount>
struct AddRows {
  cpu::AddArgs args;
  __device__ void operator()(int64_t row, int64_t vector) const {
    const int64_t col = vector * kCount;
    acc_t<T> a[kCount], b[kCount];
    load_acc(static_cast<const T*>(args.a) + row * args.a_stride + col, a);
    load_acc(static_cast<const T*>(args.b) + row * args.b_stride + col, b);
#pragma unroll
    for (int i = 0; i < kCount; ++i) a[i] += b[i];
    store_acc(static_cast<T*>(args.out) + row * args.out_stride + col, a);
  }
};

template <class T, int kCount>
struct SumTerms {
  cpu::SumTermsArgs args;
  __device__ void operator()(int64_t, int64_t vector) const {
    const T* term = static_cast<const T*>(args.terms) + vector * kCount;
    acc_t<T> sum[kCount], next[kCount];
    load_acc(term, sum);
    for (int64_t k = 1; k < args.num_terms; ++k) {
      load_acc(term + k * args.count, next);
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum[i] += next[i];
    }
    store_acc(static_cast<T*>(args.out) + vector * kCount, sum);
  }
};

template <class T, int kCount>
struct ScaleRows {
  cpu::ScaleArgs args;
  __device__ void operator()(int64_t row, int64_t vector) const {
    const int64_t col = vector * kCount;
    acc_t<T> x[kCount];
    load_acc(static_cast<const T*>(args.x) + row * args.x_stride + col, x);
    acc_t<T> factor = static_cast<acc_t<T>>(args.factor);
    if (args.factors != nullptr) factor *= static_cast<const acc_t<T>*>(args.factors)[row];
#pragma unroll
    for (int i = 0; i < kCount; ++i) x[i] *= factor;
    store_acc(static_cast<T*>(args.out) + row * args.out_stride + col, x);
  }
};

}  // namespace

void add(const cpu::AddArgs& args, Exec& exec) {
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    const bool is_flat = args.rows == 1;
    const bool fits =
        is_flat ? vectors_fit(kCount, sizeof(T), args.cols, {}, {args.a, args.b, args.out})
                : vectors_fit(kCount, sizeof(T), args.cols, {args.a_stride, args.b_stride, args.out_stride},
                              {args.a, args.b, args.out});
    if (fits) return launch_rows(AddRows<T, kCount>{args}, args.rows, args.cols / kCount, exec);
    launch_rows(AddRows<T, 1>{args}, args.rows, args.cols, exec);
  });
}

void sum_terms(const cpu::SumTermsArgs& args, Exec& exec) {
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    if (vectors_fit(kCount, sizeof(T), args.count, {}, {args.terms, args.out}))
      return launch_rows(SumTerms<T, kCount>{args}, 1, args.count / kCount, exec);
    launch_rows(SumTerms<T, 1>{args}, 1, args.count, exec);
  });
}

void scale(const cpu::ScaleArgs& args, Exec& exec) {
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    const bool fits = args.rows == 1 ? vectors_fit(kCount, sizeof(T), args.cols, {}, {args.x, args.out})
                                     : vectors_fit(kCount, sizeof(T), args.cols,
                                                   {args.x_stride, args.out_stride}, {args.x, args.out});
    if (fits) return launch_rows(ScaleRows<T, kCount>{args}, args.rows, args.cols / kCount, exec);
    launch_rows(ScaleRows<T, 1>{args}, args.rows, args.cols, exec);
  });
}

}  // namespace megalith::cuda
