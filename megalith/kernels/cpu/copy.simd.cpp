#include "megalith/kernels/cpu/copy.h"

#include "megalith/kernels/cpu/tiles.h"

namespace megalith::cpu::MG_ISA {
namespace {

template <class T>
constexpr bool kIsHalf = __is_same(T, bf16) || __is_same(T, f16);

// To and From are the same for plain moves, else both are floating: f64 <-> f32 directly, all others by way
// of float. The 16-bit types are written through their bits: a store of the struct would not vectorise.
template <class To, class From>
[[gnu::always_inline]] inline void assign(To& to, const From& from) {
  if constexpr (__is_same(To, From)) {
    to = from;
  } else if constexpr (kIsHalf<To>) {
    to.bits = To(static_cast<float>(from)).bits;
  } else if constexpr (kIsHalf<From>) {
    to = static_cast<float>(from);
  } else {
    to = static_cast<To>(from);
  }
}

template <class From, class To>
void copy_tiles(const CopyArgs& args) {
  const int last = args.rank - 1;
  const int64_t cols = args.dims[last];
  int64_t rows = 1;
  for (int i = 0; i < last; ++i) rows *= args.dims[i];
  const int64_t from_step = args.from_strides[last];
  const int64_t to_step = args.to_strides[last];
  const int64_t tiles = num_tiles(rows, cols);
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t index = 0; index < tiles; ++index) {
    const Tile tile = tile_at(index, cols);
    const From* from = static_cast<const From*>(args.from);
    To* to = static_cast<To*>(args.to);
    int64_t rest = tile.row;
    for (int i = last - 1; i >= 0; --i) {
      const int64_t place = rest % args.dims[i];
      rest /= args.dims[i];
      from += place * args.from_strides[i];
      to += place * args.to_strides[i];
    }
    if (from_step == 1 && to_step == 1) {
#pragma omp simd
      for (int64_t i = tile.begin; i < tile.end; ++i) assign(to[i], from[i]);
    } else if (from_step == 0 && to_step == 1) {
      const From value = *from;
#pragma omp simd
      for (int64_t i = tile.begin; i < tile.end; ++i) assign(to[i], value);
    } else {
      for (int64_t i = tile.begin; i < tile.end; ++i) assign(to[i * to_step], from[i * from_step]);
    }
  }
}

template <class From>
void copy_from(const CopyArgs& args) {
  switch (args.to_dtype) {
    case DType::kF64:
      return copy_tiles<From, double>(args);
    case DType::kBF16:
      return copy_tiles<From, bf16>(args);
    case DType::kF16:
      return copy_tiles<From, f16>(args);
    default:
      return copy_tiles<From, float>(args);
  }
}

void move_bits(const CopyArgs& args) {
  switch (args.from_dtype) {
    case DType::kF64:
    case DType::kI64:
      return copy_tiles<uint64_t, uint64_t>(args);
    case DType::kF32:
    case DType::kI32:
      return copy_tiles<uint32_t, uint32_t>(args);
    case DType::kBF16:
    case DType::kF16:
      return copy_tiles<uint16_t, uint16_t>(args);
    default:
      return copy_tiles<uint8_t, uint8_t>(args);
  }
}

}  // namespace

void copy(const CopyArgs& args) {
  if (args.from_dtype == args.to_dtype) return move_bits(args);
  switch (args.from_dtype) {
    case DType::kF64:
      return copy_from<double>(args);
    case DType::kBF16:
      return copy_from<bf16>(args);
    case DType::kF16:
      return copy_from<f16>(args);
    default:
      return copy_from<float>(args);
  }
}

}  // namespace megalith::cpu::MG_ISA
