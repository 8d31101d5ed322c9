#include "megalith/kernels/cuda/device/product_tiles.cuh"
#include "megalith/kernels/cuda/product_maps.h"

#include "tests/cuda/gemm_tiled.h"

namespace megalith::cuda {
namespace {

// Timed on an H200 at its power limit.
constexpr int kTilesAcross = 16;

struct RowsOfC {
  void* c;
  int64_t stride;
  int32_t rows, cols;
  bool accumulates = false;
};

class RoundedRows {
 public:
  using Args = RowsOfC;
  static constexpr int kGroups = 4;  // the quarters

  __device__ RoundedRows(const Args& to, uint32_t turn_shared) : to_(to), turned_(turn_shared) {
    tile_.row = to.rows;
  }
  __device__ void take(WarpTile tile, const float (&sums)[128]) {
    tile_ = tile;
    turned_.take<0, 1, 2, 3>(sums);
  }
  template <int kSlice>
  __device__ void slice(int quarter) {
    if (kSlice == 0 && quarter == kGroups / 2) turned_.next();
    const int32_t row = tile_.row + TurnedRows::row(kSlice),
                  col = tile_.col + 64 * quarter + TurnedRows::col();
    if (row >= to_.rows || col >= to_.cols) return;
    *reinterpret_cast<uint4*>(static_cast<Bf16*>(to_.c) + row * to_.stride + col) =
        turned_.get(quarter % 2, kSlice);
  }

 private:
  const Args& to_;
  TurnedRows turned_;
  WarpTile tile_;
};

class SumRows {
 public:
  using Args = RowsOfC;
  static constexpr int kGroups = 0;

  __device__ SumRows(const Args& to, uint32_t) : to_(to) {}
  __device__ void take(WarpTile tile, const float (&sums)[128]) {
    const auto lane = static_cast<int32_t>(threadIdx.x % 32);
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      const int32_t row = tile.row + lane / 4 + 8 * (i % 2);
      const int32_t col = tile.col + 8 * (i / 2) + 2 * (lane % 4);
      if (row >= to_.rows || col >= to_.cols) continue;
      float2* out = reinterpret_cast<float2*>(static_cast<float*>(to_.c) + row * to_.stride + col);
      float2 sum{sums[2 * i], sums[2 * i + 1]};
      if (to_.accumulates) sum.x += out->x, sum.y += out->y;
      *out = sum;
    }
  }
  template <int kSlice>
  __device__ void slice(int) {}

 private:
  const Args& to_;
};

}  // namespace

bool takes_tiled_gemm(const cpu::GemmProblem& p, Exec& exec) {
  const bool is_weight_gradient =
      p.a.transpose && !p.b.transpose && p.out_dtype == DType::kF32 && (p.beta == 0 || p.beta == 1);
  const bool is_rounded = !p.a.transpose && p.out_dtype == DType::kBF16 && p.beta == 0;
  return exec.cuda().limits().arch == 90 && p.dtype == DType::kBF16 && p.bias == nullptr && p.alpha == 1 &&
         (is_weight_gradient || is_rounded) && p.m > 0 && p.k > 0 && (!is_weight_gradient || p.m % 8 == 0) &&
         (is_weight_gradient || p.k % 8 == 0) &&
         vectors_fit(8, 2, p.n, {p.a.row_stride, p.b.row_stride, p.c_row_stride}, {p.a.data, p.b.data, p.c});
}

void tiled_gemm(const cpu::GemmProblem& p, Exec& exec) {
  const auto map_of = [&](const cpu::GemmOperand& operand, bool is_sum_major, int64_t size) {
    return is_sum_major ? sum_major_map(operand.data, size, p.k, operand.row_stride, exec)
                        : result_major_map(operand.data, p.k, size, operand.row_stride, exec);
  };
  const ProductOperands operands{.a = map_of(p.a, !p.a.transpose, p.m),
                                 .b = map_of(p.b, p.b.transpose, p.n),
                                 .rows = narrow<int32_t>(p.m),
                                 .cols = narrow<int32_t>(p.n),
                                 .terms = narrow<int32_t>(p.k)};
  const RowsOfC to{.c = p.c,
                   .stride = p.c_row_stride,
                   .rows = operands.rows,
                   .cols = operands.cols,
                   .accumulates = p.beta != 0};
  if (p.a.transpose)
    return launch_product<RowsAlong::kResult, RowsAlong::kResult, SumRows>(operands, to, kTilesAcross, exec);
  if (p.b.transpose)
    return launch_product<RowsAlong::kSum, RowsAlong::kSum, RoundedRows>(operands, to, kTilesAcross, exec);
  launch_product<RowsAlong::kSum, RowsAlong::kResult, RoundedRows>(operands, to, kTilesAcross, exec);
}

}  // namespace megalith::cuda
