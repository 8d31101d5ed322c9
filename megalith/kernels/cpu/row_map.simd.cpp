#include "megalith/kernels/cpu/row_map.h"

#include "megalith/kernels/cpu/float_types.h"

namespace megalith::cpu::MG_ISA {
namespace {

// Columns that are summed before they are stored, so that bf16 is rounded once.
constexpr int64_t kBlockCols = 64;

template <class T>
void combine(const CombineRowsArgs& args) {
  using Acc = accumulate_t<T>;
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t n = 0; n < args.rows; ++n) {
    T* out = static_cast<T*>(args.out) + n * args.out_stride;
    const int32_t* to = args.to + n * args.terms;
    for (int64_t begin = 0; begin < args.cols; begin += kBlockCols) {
      const int64_t count = args.cols - begin < kBlockCols ? args.cols - begin : kBlockCols;
      Acc sums[kBlockCols] = {};
      for (int64_t k = 0; k < args.terms; ++k) {
        if (to[k] < 0) continue;
        const T* x = static_cast<const T*>(args.x) + to[k] * args.x_stride + begin;
#pragma omp simd
        for (int64_t c = 0; c < count; ++c) sums[c] += load(x[c]);
      }
#pragma omp simd
      for (int64_t c = 0; c < count; ++c) store(out[begin + c], sums[c]);
    }
  }
}

template <class T>
void dots(const RowDotsArgs& args) {
  using Acc = accumulate_t<T>;
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t r = 0; r < args.rows; ++r) {
    const T* a = static_cast<const T*>(args.a) + r * args.a_stride;
    const T* b = static_cast<const T*>(args.b) + r * args.b_stride;
    Acc sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < args.cols; ++c) sum += load(a[c]) * load(b[c]);
    static_cast<Acc*>(args.out)[r] = sum;
  }
}

}  // namespace

void combine_rows(const CombineRowsArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() { combine<T>(args); });
}

void row_dots(const RowDotsArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() { dots<T>(args); });
}

}  // namespace megalith::cpu::MG_ISA
