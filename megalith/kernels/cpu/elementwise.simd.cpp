#include "megalith/kernels/cpu/elementwise.h"

#include "megalith/kernels/cpu/float_types.h"
#include "megalith/kernels/cpu/tiles.h"

namespace megalith::cpu::MG_ISA {
namespace {

template <class T>
void add_tiles(const AddArgs& args) {
  const int64_t tiles = num_tiles(args.rows, args.cols);
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t index = 0; index < tiles; ++index) {
    const Tile tile = tile_at(index, args.cols);
    const T* a = static_cast<const T*>(args.a) + tile.row * args.a_stride;
    const T* b = static_cast<const T*>(args.b) + tile.row * args.b_stride;
    T* out = static_cast<T*>(args.out) + tile.row * args.out_stride;
#pragma omp simd
    for (int64_t i = tile.begin; i < tile.end; ++i) {
      store(out[i], load(a[i]) + load(b[i]));
    }
  }
}

template <class T>
void sum_terms_tiles(const SumTermsArgs& args) {
  const int64_t tiles = num_tiles(1, args.count);
  const T* terms = static_cast<const T*>(args.terms);
  T* out = static_cast<T*>(args.out);
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t index = 0; index < tiles; ++index) {
    const Tile tile = tile_at(index, args.count);
#pragma omp simd
    for (int64_t i = tile.begin; i < tile.end; ++i) {
      accumulate_t<T> sum = load(terms[i]);
      for (int64_t k = 1; k < args.num_terms; ++k) sum += load(terms[k * args.count + i]);
      store(out[i], sum);
    }
  }
}

template <class T>
void scale_tiles(const ScaleArgs& args) {
  using Acc = accumulate_t<T>;
  const int64_t tiles = num_tiles(args.rows, args.cols);
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t index = 0; index < tiles; ++index) {
    const Tile tile = tile_at(index, args.cols);
    const T* x = static_cast<const T*>(args.x) + tile.row * args.x_stride;
    T* out = static_cast<T*>(args.out) + tile.row * args.out_stride;
    Acc factor = static_cast<Acc>(args.factor);
    if (args.factors != nullptr) factor *= static_cast<const Acc*>(args.factors)[tile.row];
#pragma omp simd
    for (int64_t i = tile.begin; i < tile.end; ++i) store(out[i], load(x[i]) * factor);
  }
}

}  // namespace

void add(const AddArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() { add_tiles<T>(args); });
}

void sum_terms(const SumTermsArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() { sum_terms_tiles<T>(args); });
}

void scale(const ScaleArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() { scale_tiles<T>(args); });
}

}  // namespace megalith::cpu::MG_ISA
