#pragma once
// defines: ProductOperands, TileOrder, product_kernel, kProductSharedBytes, launch_product

#include <algorithm>

#include "megalith/base/math.h"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/shared_barrier.cuh"
#include "megalith/kernels/cuda/device/tensor_load.cuh"
#include "megalith/kernels/cuda/device/turned_rows.cuh"
#include "megalith/kernels/cuda/device/warpgroup_mma.cuh"

/// Products of bf16 matrices on Hopper's tensor cores, C = A B with sums in f32. What is done with a tile of
/// C while it is in registers is an epilogue's business.
///
/// A block makes tiles of 128 x 256, one after another. Its first warpgroup has one thread at work, which
/// asks the copy engine for the 64 terms to come of both operands, up to four such stages ahead; two
/// warpgroups multiply, 64 rows each. Tensor cores work on their own while the warps that asked them do the
/// epilogue of the tile before. Two blocks on neighbouring multiprocessors, a cluster, work on tiles one
/// above the other: each fetches half of their B and the copy engine gives it to both.

namespace megalith::cuda {

constexpr int kTileRows = 128, kTileCols = 256, kTileTerms = 64;
constexpr int kClusterBlocks = 2;
constexpr int kStages = 4;
constexpr int kBoxBytes = 64 * static_cast<int>(kSwizzledRowBytes);  // of 64 rows
constexpr int kABytes = kTileRows * kTileTerms * 2, kBBytes = kTileCols * kTileTerms * 2;
constexpr int kStageBytes = kABytes + kBBytes;
constexpr int kWarpgroup = 128, kMultiplyingWarps = 8;
constexpr int kProductThreads = 3 * kWarpgroup;
/// Stages, what the epilogue turns its rows in, two barriers a stage; 1 KiB to align them.
constexpr int kProductSharedBytes =
    1024 + kStages * kStageBytes + kMultiplyingWarps * kTurnBytes + 2 * kStages * 8;

/// Maps of A and B, boxes of 64 x 64, and the size of the product. With b_has_halves B's columns come from
/// two tensors, as the map's third dimension: a tile's first 128 columns from the one and its others from the
/// same place of the other, and `cols` counts those of one of them.
struct ProductOperands {
  CUtensorMap a, b;
  int32_t rows = 0, cols = 0, terms = 0;
  bool b_has_halves = false;
};

/// Pairs of tiles that are worked on at one time lie in a compact part of C, so that what they read comes
/// from the L2 cache: `group` tiles across, then the next row of pairs. Every other group goes from the last
/// row up: the rows of A that were read last are read again first.
struct TileOrder {
  int32_t pair_rows = 0, tile_cols = 0, group = 1;

  __host__ __device__ int32_t size() const { return pair_rows * tile_cols; }
  struct Pair {
    int32_t row, col;
  };
  __device__ Pair operator()(int32_t index) const {
    const int32_t in_group = group * pair_rows;
    const int32_t number = index / in_group, place = index % in_group;
    const int32_t first_col = number * group;
    const int32_t width = min(group, tile_cols - first_col);
    const int32_t row = place / width;
    return {number % 2 == 0 ? row : pair_rows - 1 - row, first_col + place % width};
  }
};

/// Where a warp's 16 rows and 256 columns of a tile lie in C.
struct WarpTile {
  int32_t row = 0, col = 0;
};

namespace product {

struct Shared {
  uint32_t base;
  __device__ uint32_t a(int stage) const { return base + static_cast<uint32_t>(stage * kStageBytes); }
  __device__ uint32_t b(int stage) const { return a(stage) + kABytes; }
  __device__ uint32_t turn(int warp) const {
    return base + static_cast<uint32_t>(kStages * kStageBytes + warp * kTurnBytes);
  }
  __device__ uint32_t full(int stage) const {
    return base + static_cast<uint32_t>(kStages * kStageBytes + kMultiplyingWarps * kTurnBytes + stage * 8);
  }
  __device__ uint32_t empty(int stage) const { return full(stage) + kStages * 8; }
};

/// Goes round the stages; the parity changes with every round.
struct StageCursor {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void advance() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

/// This block's rows of A, and its share of the cluster's columns of B, for one stage.
template <RowsAlong kA, RowsAlong kB>
__device__ inline void load_stage(const ProductOperands& p, const Shared& shared, int stage, int32_t rank,
                                  int32_t row, int32_t col, int32_t term) {
  constexpr uint16_t kWholeCluster = (1 << kClusterBlocks) - 1;
  constexpr int32_t kShare = kTileCols / kClusterBlocks;
  const uint32_t full = shared.full(stage);
  arrive_expecting(full, kStageBytes);
#pragma unroll
  for (int32_t i = 0; i < kTileRows; i += 64) {
    const TensorPlace place =
        kA == RowsAlong::kSum ? TensorPlace{term, row + i, 0} : TensorPlace{row + i, term, 0};
    load_box(shared.a(stage) + i / 64 * kBoxBytes, p.a, place, full);
  }
#pragma unroll
  for (int32_t i = rank * kShare; i < (rank + 1) * kShare; i += 64) {
    const int32_t tensor = p.b_has_halves ? i / (kTileCols / 2) : 0;
    const int32_t from = col + i - tensor * (kTileCols / 2);
    const TensorPlace place =
        kB == RowsAlong::kSum ? TensorPlace{term, from, tensor} : TensorPlace{from, term, tensor};
    load_box_for_cluster(shared.b(stage) + i / 64 * kBoxBytes, p.b, place, full, kWholeCluster);
  }
}

/// One warpgroup's 64 rows of a tile: the sum over all terms. Under the first stage's products `prepare` is
/// called, and under the next ones' the last tile's epilogue goes on. A stage that has been read is given
/// back to the producers of both blocks, which fill it together.
template <RowsAlong kA, RowsAlong kB, class Epilogue>
class Multiplication {
 public:
  __device__ Multiplication(const Shared& shared, int warpgroup) : shared_(shared), warpgroup_(warpgroup) {}

  template <class Prepare>
  __device__ void run(int32_t stages, Epilogue& last_tile, float (&sums)[128], const Prepare& prepare) {
    done_ = 0;
    run_stage(sums);
    prepare();
    for (int group = 0; group < Epilogue::kGroups; ++group) {
      run_slice<0>(stages, group, last_tile, sums);
      run_slice<1>(stages, group, last_tile, sums);
      run_slice<2>(stages, group, last_tile, sums);
      run_slice<3>(stages, group, last_tile, sums);
    }
    while (done_ < stages) run_stage(sums);
    warpgroup_wait<0>();
    settle(sums);
    give_back(last_stage_);
  }

 private:
  template <int kSlice>
  __device__ __forceinline__ void run_slice(int32_t stages, int group, Epilogue& last_tile,
                                            float (&sums)[128]) {
    if (done_ < stages) run_stage(sums);
    last_tile.template slice<kSlice>(group);
  }
  __device__ __forceinline__ void run_stage(float (&sums)[128]) {
    wait_for(shared_.full(cursor_.stage), cursor_.parity);
    const uint64_t a =
        operand_descriptor<kA>(shared_.a(cursor_.stage) + static_cast<uint32_t>(warpgroup_ * kBoxBytes));
    const uint64_t b = operand_descriptor<kB>(shared_.b(cursor_.stage));
    warpgroup_begin();
#pragma unroll
    for (int step = 0; step < kTileTerms / 16; ++step) {
      warpgroup_mma<kA, kB>(sums, a + step * descriptor_step<kA>(), b + step * descriptor_step<kB>(),
                            (done_ | step) != 0);
    }
    warpgroup_commit();
    warpgroup_wait<1>();
    if (done_ > 0) give_back(last_stage_);
    last_stage_ = cursor_.stage;
    cursor_.advance();
    ++done_;
  }
  __device__ void give_back(int stage) const {
    const uint32_t lane = threadIdx.x % 32;
    if (lane < kClusterBlocks) arrive_at_rank(shared_.empty(stage), lane);
  }

  Shared shared_;
  int warpgroup_;
  StageCursor cursor_;
  int32_t done_ = 0;
  int last_stage_ = 0;
};

}  // namespace product

/// What an epilogue is: `Epilogue::Args`, which the launch hands over, and for each warp an object of
///     Epilogue(const Args&, uint32_t turn_shared)   with no tile yet
///     take(WarpTile, sums)     behind the product of a tile: keeps what it needs of the sums
///     slice<0>(group) .. slice<3>(group) of group 0 .. kGroups - 1   does the rest bit by bit, under the
///                              product of the next tile
template <RowsAlong kA, RowsAlong kB, class Epilogue>
__global__ __cluster_dims__(kClusterBlocks, 1, 1)
    __launch_bounds__(kProductThreads,
                      1) void product_kernel(const __grid_constant__ ProductOperands operands,
                                             TileOrder order,
                                             const __grid_constant__ typename Epilogue::Args args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using namespace product;
  extern __shared__ std::byte dynamic_shared[];
  const Shared shared{(shared_address(dynamic_shared) + 1023) & ~1023u};
  // As one value of the warp, so that addresses that follow from it are computed once for its lanes.
  const int warpgroup = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / kWarpgroup - 1, 0);
  const uint32_t rank = cluster_rank();
  const auto first = static_cast<int32_t>(blockIdx.x / kClusterBlocks);
  const auto step = static_cast<int32_t>(gridDim.x / kClusterBlocks);
  const int32_t stages = (operands.terms + kTileTerms - 1) / kTileTerms;
  const int32_t col_step = operands.b_has_halves ? kTileCols / 2 : kTileCols;

  let_next_begin();
  if (threadIdx.x == 0) {
    prefetch_map(operands.a);
    prefetch_map(operands.b);
    for (int stage = 0; stage < kStages; ++stage) {
      init_barrier(shared.full(stage), 1);
      init_barrier(shared.empty(stage), kClusterBlocks * kMultiplyingWarps);
    }
    publish_barriers();
  }
  cluster_sync();
  wait_for_last();

  const auto row_of = [&](int32_t pair_row) {
    return (pair_row * kClusterBlocks + static_cast<int32_t>(rank)) * kTileRows;
  };
  if (warpgroup < 0) {
    give_registers<24>();
    if (threadIdx.x == 0) {
      StageCursor cursor;
      for (int32_t index = first; index < order.size(); index += step) {
        const TileOrder::Pair pair = order(index);
        for (int32_t i = 0; i < stages; ++i) {
          wait_for(shared.empty(cursor.stage), cursor.parity ^ 1);
          load_stage<kA, kB>(operands, shared, cursor.stage, static_cast<int32_t>(rank), row_of(pair.row),
                             pair.col * col_step, i * kTileTerms);
          cursor.advance();
        }
      }
    }
  } else {
    take_registers<240>();
    const int warp = static_cast<int>(threadIdx.x) / 32 - kWarpgroup / 32;
    Epilogue epilogue(args, shared.turn(warp));
    Multiplication<kA, kB, Epilogue> multiplication(shared, warpgroup);
    const auto place = [&](int32_t index) {
      const TileOrder::Pair pair = order(min(index, order.size() - 1));
      return WarpTile{row_of(pair.row) + warp * 16, pair.col * col_step};
    };
    WarpTile tile = place(first);
    for (int32_t index = first; index < order.size(); index += step) {
      WarpTile next;
      float sums[128];
      // Its divisions: the compiler would put them between two tiles, where the tensor cores wait for them.
      multiplication.run(stages, epilogue, sums, [&] {
        next = place(index + step);
        asm volatile("mov.b32 %0, %0;\nmov.b32 %1, %1;" : "+r"(next.row), "+r"(next.col));
      });
      epilogue.take(tile, sums);
      tile = next;
    }
    for (int group = 0; group < Epilogue::kGroups; ++group) {
      epilogue.template slice<0>(group);
      epilogue.template slice<1>(group);
      epilogue.template slice<2>(group);
      epilogue.template slice<3>(group);
    }
  }
  __syncwarp();
  cluster_sync();  // the other block may still arrive at barriers here
#endif
}

/// `group`: of TileOrder.
template <RowsAlong kA, RowsAlong kB, class Epilogue>
void launch_product(const ProductOperands& operands, const typename Epilogue::Args& args, int group,
                    Exec& exec) {
  const int col_step = operands.b_has_halves ? kTileCols / 2 : kTileCols;
  const TileOrder order{.pair_rows = ceil_div(operands.rows, kClusterBlocks * kTileRows),
                        .tile_cols = ceil_div(operands.cols, col_step),
                        .group = group};
  const auto kernel = product_kernel<kA, kB, Epilogue>;
  MG_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kProductSharedBytes));
  const int clusters = std::min(order.size(), exec.cuda().limits().sm_count / kClusterBlocks);
  MG_CUDA_CHECK(launch_early(kernel, static_cast<unsigned>(clusters * kClusterBlocks), kProductThreads,
                             kProductSharedBytes, exec.cuda().stream(), operands, order, args));
}

}  // namespace megalith::cuda
