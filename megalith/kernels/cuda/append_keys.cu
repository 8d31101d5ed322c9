#include "megalith/kernels/cuda/append_keys.h"
#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"

namespace megalith::cuda {
namespace {

template <class T>
__device__ inline T* row_of(const TokenRows& x, int64_t b, int64_t token, int64_t head) {
  return static_cast<T*>(x.data) + b * x.batch_stride + token * x.token_stride + head * x.head_stride;
}

// The grid's rows are (batch, token, head), its columns vectors.
template <class T, int kCount>
struct AppendRows {
  AppendKeysProblem p;
  __device__ void operator()(int64_t row, int64_t vector) const {
    const int64_t head = row % p.heads, token = row / p.heads % p.tokens, b = row / p.heads / p.tokens;
    const int64_t place = *p.place + token, column = vector * kCount;
    if (place < 0 || place >= p.length) return;
    using Words = Vector<T, kCount>;
    *reinterpret_cast<Words*>(row_of<T>(p.keys, b, place, head) + column) =
        load_vector<kCount>(row_of<const T>(p.k, b, token, head) + column);
    *reinterpret_cast<Words*>(row_of<T>(p.values, b, place, head) + column) =
        load_vector<kCount>(row_of<const T>(p.v, b, token, head) + column);
  }
};

}  // namespace

void append_keys(const AppendKeysProblem& p, Exec& exec) {
  dispatch_device_float(p.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    bool fits = true;
    for (const TokenRows* x : {&p.k, &p.v, &p.keys, &p.values})
      fits = fits && vectors_fit(kCount, sizeof(T), p.head_dim,
                                 {x->batch_stride, x->token_stride, x->head_stride}, {x->data});
    const int64_t rows = p.batch * p.tokens * p.heads;
    if (fits) return launch_rows(AppendRows<T, kCount>{p}, rows, p.head_dim / kCount, exec);
    launch_rows(AppendRows<T, 1>{p}, rows, p.head_dim, exec);
  });
}

}  // namespace megalith::cuda
