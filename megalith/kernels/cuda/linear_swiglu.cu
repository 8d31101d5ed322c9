#include "megalith/kernels/cuda/device/activation_functions.cuh"
#include "megalith/kernels/cuda/device/product_tiles.cuh"
#include "megalith/kernels/cuda/linear_swiglu.h"
#include "megalith/kernels/cuda/product_maps.h"

namespace megalith::cuda {
namespace {

// Timed on an H200 at its power limit.
constexpr int kForwardTilesAcross = 16, kBackwardTilesAcross = 8;

__device__ inline float silu(float x) {
  return evaluate<Bf16, cpu::Activation::kSilu>(x).value;
}

// By shifts of the word: as the type of its halves, the compiler would take it apart as soon as it is loaded,
// and wait for it there.
__device__ inline float2 unpack(uint32_t word) {
  return {__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u)};
}

// Two columns.
__device__ inline uint32_t swiglu(uint32_t gate, uint32_t linear) {
  const float2 g = unpack(gate), l = unpack(linear);
  return pack(silu(g.x) * l.x, silu(g.y) * l.y);
}

__device__ inline uint4 swiglu(const uint4& gate, const uint4& linear) {
  return {swiglu(gate.x, linear.x), swiglu(gate.y, linear.y), swiglu(gate.z, linear.z),
          swiglu(gate.w, linear.w)};
}

struct SwigluPlaces {
  Bf16* pre;
  Bf16* y;
  int64_t pre_stride, y_stride;
  int32_t rows, cols;  // of y
};

// Sums of a tile: 128 columns of the gate, then the 128 of the linear half that belong to them.
class SwigluRows {
 public:
  using Args = SwigluPlaces;
  static constexpr int kGroups = 2;  // 64 columns of both halves, then the other 64

  __device__ SwigluRows(const Args& to, uint32_t turn_shared) : to_(to), turned_(turn_shared) {
    tile_.row = to.rows;
  }
  __device__ void take(WarpTile tile, const float (&sums)[128]) {
    tile_ = tile;
    turned_.take<0, 2, 1, 3>(sums);
  }
  template <int kSlice>
  __device__ void slice(int group) {
    if (kSlice == 0 && group == 1) turned_.next();
    const int32_t row = tile_.row + TurnedRows::row(kSlice);
    const int32_t col = tile_.col + 64 * group + TurnedRows::col();
    if (row >= to_.rows || col >= to_.cols) return;
    const uint4 gate = turned_.get(0, kSlice), linear = turned_.get(1, kSlice);
    Bf16* pre = to_.pre + row * to_.pre_stride + col;
    *reinterpret_cast<uint4*>(pre) = gate;
    *reinterpret_cast<uint4*>(pre + to_.cols) = linear;
    *reinterpret_cast<uint4*>(to_.y + row * to_.y_stride + col) = swiglu(gate, linear);
  }

 private:
  const Args& to_;
  TurnedRows turned_;
  WarpTile tile_;
};

struct SwigluGradientPlaces {
  const Bf16* pre;
  Bf16* d_pre;
  Bf16* y;
  int64_t pre_stride, d_pre_stride, y_stride;
  int32_t rows, cols;  // of the gradient of y
};

// Sums of a tile: the gradient of y = swiglu(pre). A lane makes 16 vectors of 8 columns, half of one in a
// slice; the rows of pre of the next two are on their way meanwhile.
template <bool kMakesY>
class SwigluGradientRows {
 public:
  using Args = SwigluGradientPlaces;
  static constexpr int kGroups = 8;  // two vectors each

  __device__ SwigluGradientRows(const Args& to, uint32_t turn_shared) : to_(to), turned_(turn_shared) {
    tile_.row = to.rows;
  }
  __device__ void take(WarpTile tile, const float (&sums)[128]) {
    tile_ = tile;
    fetch(0, gate_[0], linear_[0]);
    fetch(1, gate_[1], linear_[1]);
    turned_.take<0, 1, 2, 3>(sums);
  }
  template <int kSlice>
  __device__ void slice(int group) {
    if (kSlice == 0 && group == kGroups / 2) turned_.next();
    constexpr int kOfTwo = kSlice / 2;
    const int vector = 2 * group + kOfTwo;
    const uint4 d_y = turned_.get(vector / 4 % 2, vector % 4);
    uint4 &gate = gate_[kOfTwo], &linear = linear_[kOfTwo];
    if constexpr (kSlice % 2 == 0) {
      differentiate(gate.x, linear.x, d_y.x, y_.x);
      differentiate(gate.y, linear.y, d_y.y, y_.y);
    } else {
      differentiate(gate.z, linear.z, d_y.z, y_.z);
      differentiate(gate.w, linear.w, d_y.w, y_.w);
      store(place_of(vector), gate, linear);
      if (vector + 2 < 16) fetch(vector + 2, gate, linear);
    }
  }

 private:
  __device__ WarpTile place_of(int vector) const {
    return {tile_.row + TurnedRows::row(vector % 4), tile_.col + vector / 4 * 64 + TurnedRows::col()};
  }
  __device__ bool is_inside(WarpTile place) const { return place.row < to_.rows && place.col < to_.cols; }
  __device__ void fetch(int vector, uint4& gate, uint4& linear) const {
    const WarpTile place = place_of(vector);
    if (!is_inside(place)) return;
    const Bf16* from = to_.pre + place.row * to_.pre_stride + place.col;
    gate = *reinterpret_cast<const uint4*>(from);
    linear = *reinterpret_cast<const uint4*>(from + to_.cols);
  }
  __device__ void store(WarpTile place, const uint4& d_gate, const uint4& d_linear) const {
    if (!is_inside(place)) return;
    Bf16* out = to_.d_pre + place.row * to_.d_pre_stride + place.col;
    *reinterpret_cast<uint4*>(out) = d_gate;
    *reinterpret_cast<uint4*>(out + to_.cols) = d_linear;
    if constexpr (kMakesY) *reinterpret_cast<uint4*>(to_.y + place.row * to_.y_stride + place.col) = y_;
  }
  // Two columns of pre become those of its gradient.
  __device__ static void differentiate(uint32_t& gate, uint32_t& linear, uint32_t d_y, uint32_t& y) {
    if constexpr (kMakesY) y = swiglu(gate, linear);
    const float2 g = unpack(gate), l = unpack(linear), d = unpack(d_y);
    const auto first = evaluate<Bf16, cpu::Activation::kSilu>(g.x);
    const auto second = evaluate<Bf16, cpu::Activation::kSilu>(g.y);
    gate = pack(d.x * l.x * first.slope, d.y * l.y * second.slope);
    linear = pack(d.x * first.value, d.y * second.value);
  }

  const Args& to_;
  TurnedRows turned_;
  WarpTile tile_;
  uint4 gate_[2] = {}, linear_[2] = {}, y_;
};

// Smaller products fill the multiprocessors better in smaller tiles.
bool has_tiles_for_all(int64_t rows, int64_t tiles_across, Exec& exec) {
  return ceil_div<int64_t>(rows, kTileRows) * tiles_across >= 2 * exec.cuda().limits().sm_count;
}

bool is_hopper(Exec& exec) {
  return exec.cuda().limits().arch == 90;
}

}  // namespace

bool takes_linear_swiglu(const LinearSwigluArgs& a, Exec& exec) {
  return a.dtype == DType::kBF16 && is_hopper(exec) && a.hidden > 0 && a.hidden % 8 == 0 &&
         has_tiles_for_all(a.tokens, ceil_div<int64_t>(a.ffn, kTileCols / 2), exec) &&
         vectors_fit(8, 2, a.ffn, {a.x_stride, a.weight_stride, a.pre_stride, a.y_stride},
                     {a.x, a.weight, a.pre, a.y});
}

void linear_swiglu(const LinearSwigluArgs& a, Exec& exec) {
  const ProductOperands operands{.a = sum_major_map(a.x, a.tokens, a.hidden, a.x_stride, exec),
                                 .b = sum_major_map(a.weight, a.ffn, a.hidden, a.weight_stride, exec, 2),
                                 .rows = narrow<int32_t>(a.tokens),
                                 .cols = narrow<int32_t>(a.ffn),
                                 .terms = narrow<int32_t>(a.hidden),
                                 .b_has_halves = true};
  const SwigluPlaces to{.pre = static_cast<Bf16*>(a.pre),
                        .y = static_cast<Bf16*>(a.y),
                        .pre_stride = a.pre_stride,
                        .y_stride = a.y_stride,
                        .rows = operands.rows,
                        .cols = operands.cols};
  launch_product<RowsAlong::kSum, RowsAlong::kSum, SwigluRows>(operands, to, kForwardTilesAcross, exec);
}

bool takes_swiglu_linear_backward_input(const SwigluLinearBackwardArgs& a, Exec& exec) {
  return a.dtype == DType::kBF16 && is_hopper(exec) && a.hidden > 0 && a.hidden % 8 == 0 &&
         has_tiles_for_all(a.tokens, ceil_div<int64_t>(a.ffn, kTileCols), exec) &&
         vectors_fit(8, 2, a.ffn, {a.d_out_stride, a.weight_stride, a.pre_stride, a.d_pre_stride, a.y_stride},
                     {a.d_out, a.weight, a.pre, a.d_pre, a.y});
}

void swiglu_linear_backward_input(const SwigluLinearBackwardArgs& a, Exec& exec) {
  const ProductOperands operands{.a = sum_major_map(a.d_out, a.tokens, a.hidden, a.d_out_stride, exec),
                                 .b = result_major_map(a.weight, a.hidden, a.ffn, a.weight_stride, exec),
                                 .rows = narrow<int32_t>(a.tokens),
                                 .cols = narrow<int32_t>(a.ffn),
                                 .terms = narrow<int32_t>(a.hidden)};
  const SwigluGradientPlaces to{.pre = static_cast<const Bf16*>(a.pre),
                                .d_pre = static_cast<Bf16*>(a.d_pre),
                                .y = static_cast<Bf16*>(a.y),
                                .pre_stride = a.pre_stride,
                                .d_pre_stride = a.d_pre_stride,
                                .y_stride = a.y_stride,
                                .rows = operands.rows,
                                .cols = operands.cols};
  const auto launch = [&]<class Epilogue>() {
    launch_product<RowsAlong::kSum, RowsAlong::kResult, Epilogue>(operands, to, kBackwardTilesAcross, exec);
  };
  if (a.y != nullptr) return launch.operator()<SwigluGradientRows<true>>();
  launch.operator()<SwigluGradientRows<false>>();
}

}  // namespace megalith::cuda
