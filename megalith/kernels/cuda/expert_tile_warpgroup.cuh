#pragma once
// defines: WarpgroupTile

#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/shared_barrier.cuh"
#include "megalith/kernels/cuda/device/warpgroup_mma.cuh"
#include "megalith/kernels/cuda/expert_tile.cuh"

namespace megalith::cuda {

/// A tile of 128 x 256 of a product of bf16 matrices on Hopper's tensor cores: two warpgroups of 64 rows
/// each, which read both operands from shared memory on their own while the same threads ask for what comes
/// two steps later. Rows of an expert begin anywhere and end anywhere, so that cp.async brings them, with
/// zeros for what is another expert's, in the layout of device/warpgroup_mma.cuh.
template <RowsAlong kA, RowsAlong kB, class Out>
class WarpgroupTile {
 public:
  static constexpr int kRows = 128, kCols = 256, kDepth = 64, kStages = 4, kThreads = 256;
  static constexpr int kBlocksOfMultiprocessor = 1;
  static constexpr uint32_t kBoxBytes = 64 * kSwizzledRowBytes;
  static constexpr uint32_t kABytes = kRows / 64 * kBoxBytes, kBBytes = kCols / 64 * kBoxBytes;
  static constexpr uint32_t kStageBytes = kABytes + kBBytes;
  static constexpr size_t kSharedBytes = 1024 + size_t{kStages} * kStageBytes;

  /// Every thread of the block.
  static __device__ void run(const TileProblem& p, int64_t row0, int64_t col0, void* shared) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    const uint32_t base = (shared_address(shared) + 1023) & ~1023u;
    const auto warpgroup = static_cast<uint32_t>(threadIdx.x / 128);
    const int64_t steps = (p.k + kDepth - 1) / kDepth;
    const auto stage_of = [&](int64_t step) {
      return base + static_cast<uint32_t>(step % kStages) * kStageBytes;
    };
    const auto load_step = [&](int64_t step) {
      if (step < steps) {
        load<kA, kRows>(static_cast<const Bf16*>(p.a), kA == RowsAlong::kSum ? p.a_row : p.a_col, row0, p.m,
                        step * kDepth, p.k, stage_of(step));
        load<kB, kCols>(static_cast<const Bf16*>(p.b), kB == RowsAlong::kSum ? p.b_row : p.b_col, col0, p.n,
                        step * kDepth, p.k, stage_of(step) + kABytes);
      }
      asm volatile("cp.async.commit_group;\n" ::: "memory");
    };
    float sums[128];
    load_step(0);
    load_step(1);
    for (int64_t step = 0; step < steps; ++step) {
      asm volatile("cp.async.wait_group 1;\n" ::: "memory");
      asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");  // the tensor cores see what has come
      // The stage is full. The products of two steps ago are done in both warpgroups, and their stage free.
      __syncthreads();
      const uint64_t a = operand_descriptor<kA>(stage_of(step) + warpgroup * kBoxBytes);
      const uint64_t b = operand_descriptor<kB>(stage_of(step) + kABytes);
      warpgroup_begin();
#pragma unroll
      for (int slice = 0; slice < kDepth / 16; ++slice)
        warpgroup_mma<kA, kB>(sums, a + slice * descriptor_step<kA>(), b + slice * descriptor_step<kB>(),
                              (step | slice) != 0);
      warpgroup_commit();
      load_step(step + 2);
      warpgroup_wait<1>();
    }
    warpgroup_wait<0>();
    settle(sums);
    if (steps == 0) {
#pragma unroll
      for (float& sum : sums) sum = 0;
    }
    store(p, row0, col0, sums);
#endif
  }

 private:
  // `kOthers` of the index that is not summed over from `other0`, kDepth of the sum's from `sum0`; what lies
  // outside the matrix becomes zero.
  template <RowsAlong kAlong, int kOthers>
  static __device__ void load(const Bf16* from, int64_t stride, int64_t other0, int64_t others, int64_t sum0,
                              int64_t sums, uint32_t to) {
    constexpr bool kAlongSum = kAlong == RowsAlong::kSum;
    constexpr int kUnits = (kAlongSum ? kDepth : kOthers) / 8;  // of 16 bytes in a row of memory
    const int64_t rows = kAlongSum ? others - other0 : sums - sum0;
    const int unit = static_cast<int>(threadIdx.x) % kUnits;
    const int64_t col = (kAlongSum ? sum0 : other0) + unit * 8;
    const bool has_col = col < (kAlongSum ? sums : others);
    const Bf16* first = from + (kAlongSum ? other0 : sum0) * stride + col;
    const auto box = to + static_cast<uint32_t>(kAlongSum ? 0 : unit / 8) * kBoxBytes;
#pragma unroll
    for (int i = 0; i < kOthers * kDepth / 8 / kThreads; ++i) {
      const int row = static_cast<int>(threadIdx.x) / kUnits + i * (kThreads / kUnits);
      const bool is_inside = has_col && row < rows;
      const Bf16* source = is_inside ? first + row * stride : from;
      const uint32_t target = box + static_cast<uint32_t>(row) * kSwizzledRowBytes +
                              static_cast<uint32_t>((unit % 8) ^ (row % 8)) * 16;
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(target), "l"(source),
                   "r"(is_inside ? 16 : 0)
                   : "memory");
    }
  }

  static __device__ void store(const TileProblem& p, int64_t row0, int64_t col0, const float (&sums)[128]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    Out* c = static_cast<Out*>(p.c);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = row0 + 16 * warp + 8 * half + lane / 4;
      if (row >= p.m) continue;
#pragma unroll
      for (int j = 0; j < kCols / 8; ++j) {
        const int64_t col = col0 + 8 * j + lane % 4 * 2;
        if (col >= p.n) break;
        Out* place = c + row * p.c_row + col;
        float values[2] = {sums[4 * j + 2 * half], sums[4 * j + 2 * half + 1]};
        if (p.accumulates) {
          float old[2];
          load_acc(place, old);
          values[0] += old[0];
          values[1] += old[1];
        }
        store_acc(place, values);
      }
    }
  }
};

}  // namespace megalith::cuda
