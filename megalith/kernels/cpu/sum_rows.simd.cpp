#include "megalith/kernels/cpu/sum_rows.h"

#include "megalith/kernels/cpu/float_types.h"
#include "megalith/kernels/cpu/partials.h"

namespace megalith::cpu::MG_ISA {
namespace {

template <class T>
void sum_chunks(const SumRowsArgs& args) {
  using Acc = accumulate_t<T>;
  Acc* partials = static_cast<Acc*>(args.partials);
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t chunk = 0; chunk < args.num_chunks; ++chunk) {
    Acc* sums = partials + chunk * args.cols;
    clear(sums, args.cols);
    const int64_t begin = chunk * args.chunk_rows;
    const int64_t end = begin + args.chunk_rows < args.rows ? begin + args.chunk_rows : args.rows;
    for (int64_t row = begin; row < end; ++row) {
      const T* x = static_cast<const T*>(args.x) + row * args.x_stride;
#pragma omp simd
      for (int64_t c = 0; c < args.cols; ++c) sums[c] += load(x[c]);
    }
  }
  dispatch_gradient<T>(args.out_dtype, [&]<class Out>() {
    sum_partials(partials, args.num_chunks, args.cols, args.accumulate, static_cast<Out*>(args.out));
  });
}

}  // namespace

void sum_rows(const SumRowsArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() { sum_chunks<T>(args); });
}

}  // namespace megalith::cpu::MG_ISA
