#include "megalith/kernels/cpu/embedding.h"

#include "megalith/kernels/cpu/gradient_types.h"

namespace megalith::cpu::MG_ISA {
namespace {

// Two cache lines of f32: narrow enough to share the columns of a small model among threads.
constexpr int64_t kBlockCols = 32;

template <class T>
void gather_rows(const EmbeddingArgs& args) {
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t t = 0; t < args.tokens; ++t) {
    const int64_t id = args.ids[t] - args.first_id;
    const bool is_held = id >= 0 && id < args.num_rows;
    const T* row = static_cast<const T*>(args.table) + (is_held ? id : 0) * args.table_stride;
    T* out = static_cast<T*>(args.out) + t * args.out_stride;
    if (!is_held) __builtin_memset(static_cast<void*>(out), 0, static_cast<size_t>(args.cols) * sizeof(T));
    if (args.positions != nullptr) {
      if (!is_held) row = out;
      const T* position =
          static_cast<const T*>(args.positions_table) + args.positions[t] * args.positions_stride;
#pragma omp simd
      for (int64_t c = 0; c < args.cols; ++c) {
        store(out[c], load(row[c]) + load(position[c]));
      }
    } else if (is_held) {
      __builtin_memcpy(out, row, static_cast<size_t>(args.cols) * sizeof(T));
    }
  }
}

// A thread's columns of one row of the table after the other: all of its tokens, then one rounding.
template <class T, class Gradient>
void add_runs(const EmbeddingBackwardArgs& args) {
  const int64_t blocks = (args.cols + kBlockCols - 1) / kBlockCols;
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int thread = 0; thread < args.num_threads; ++thread) {
    const int64_t begin = blocks * thread / args.num_threads * kBlockCols;
    const int64_t next = blocks * (thread + 1) / args.num_threads * kBlockCols;
    const int64_t end = next < args.cols ? next : args.cols;
    for (int64_t first = 0, last = 0; first < args.num_held; first = last) {
      const int32_t id = args.ids[args.tokens_by_row[first]];
      while (last < args.num_held && args.ids[args.tokens_by_row[last]] == id) ++last;
      Gradient* d_row = static_cast<Gradient*>(args.d_table) + (id - args.first_id) * args.d_table_stride;
      for (int64_t col = begin; col < end; col += kBlockCols) {
        const int64_t size = col + kBlockCols < end ? kBlockCols : end - col;
        accumulate_t<T> sums[kBlockCols];
#pragma omp simd
        for (int64_t c = 0; c < size; ++c) sums[c] = load(d_row[col + c]);
        for (int64_t i = first; i < last; ++i) {
          const T* d_out =
              static_cast<const T*>(args.d_out) + args.tokens_by_row[i] * args.d_out_stride + col;
#pragma omp simd
          for (int64_t c = 0; c < size; ++c) sums[c] += load(d_out[c]);
        }
#pragma omp simd
        for (int64_t c = 0; c < size; ++c) store(d_row[col + c], sums[c]);
      }
    }
  }
}

}  // namespace

void embedding(const EmbeddingArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() { gather_rows<T>(args); });
}

void embedding_backward(const EmbeddingBackwardArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() {
    dispatch_gradient<T>(args.table_dtype, [&]<class Gradient>() { add_runs<T, Gradient>(args); });
  });
}

}  // namespace megalith::cpu::MG_ISA
