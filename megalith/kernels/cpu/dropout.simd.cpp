#include "megalith/kernels/cpu/dropout.h"

#include "megalith/kernels/cpu/float_types.h"
#include "megalith/kernels/cpu/tiles.h"

namespace megalith::cpu::MG_ISA {
namespace {

constexpr int64_t kTileWords = 4 * kPhiloxTile;

// Elements [begin, end) of a row, whose first element has the index `first` in the whole tensor.
template <class T>
void drop(const DropoutArgs& args, const T* x, T* y, int64_t first, int64_t begin, int64_t end) {
  using Acc = accumulate_t<T>;
  const Acc scale = static_cast<Acc>(args.scale);
  uint32_t words[4][kPhiloxTile];
  uint32_t in_order[kTileWords];
  int64_t i = begin;
  while (i < end) {
    const uint64_t element = static_cast<uint64_t>(first + i);
    const int64_t skipped = static_cast<int64_t>(element % 4);
    philox_words(args.rng, element / 4, words);
    for (int block = 0; block < kPhiloxTile; ++block) {
      for (int lane = 0; lane < 4; ++lane) in_order[4 * block + lane] = words[lane][block];
    }
    const int64_t count = kTileWords - skipped < end - i ? kTileWords - skipped : end - i;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      const bool keeps = in_order[skipped + j] >> 9 >= args.threshold;
      store(y[i + j], keeps ? load(x[i + j]) * scale : 0);
    }
    i += count;
  }
}

template <class T>
void drop_tiles(const DropoutArgs& args) {
  const int64_t tiles = num_tiles(args.rows, args.cols);
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t index = 0; index < tiles; ++index) {
    const Tile tile = tile_at(index, args.cols);
    drop(args, static_cast<const T*>(args.x) + tile.row * args.x_stride,
         static_cast<T*>(args.y) + tile.row * args.y_stride, tile.row * args.cols, tile.begin, tile.end);
  }
}

}  // namespace

void dropout(const DropoutArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() { drop_tiles<T>(args); });
}

}  // namespace megalith::cpu::MG_ISA
