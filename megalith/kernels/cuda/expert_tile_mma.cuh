#pragma once
// defines: Major, MmaTile

#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/expert_tile.cuh"

namespace megalith::cuda {

/// Which index of an operand is contiguous: the one that is summed over, or the other.
enum class Major { kSum, kOther };

/// A tile of 128 x 128 of a product of bf16 matrices: four warps of 64 x 64 with mma.m16n8k16, operands
/// through three stages of shared memory that cp.async fills. A stage keeps both operands as they lie in
/// memory, chunks of 16 bytes swizzled so that eight rows meet no bank twice; ldmatrix turns them where the
/// instruction wants it.
template <Major kMajorA, Major kMajorB, class Out>
class MmaTile {
 public:
  static constexpr int kRows = 128, kCols = 128, kDepth = 64, kStages = 3, kThreads = 128;
  static constexpr int kBlocksOfMultiprocessor = 2;
  static constexpr int kOperandElements = kRows * kDepth;
  static constexpr size_t kSharedBytes = size_t{2} * kStages * kOperandElements * sizeof(Bf16);

  /// Every thread of the block; `memory` is aligned to 128 bytes.
  static __device__ void run(const TileProblem& p, int64_t row0, int64_t col0, void* memory) {
    auto* shared = static_cast<Bf16*>(memory);
    const int64_t steps = (p.k + kDepth - 1) / kDepth;
    float sums[4][8][4] = {};
    const auto load_step = [&](int64_t step) {
      if (step < steps) {
        Bf16* stage = shared + step % kStages * 2 * kOperandElements;
        load<kMajorA>(static_cast<const Bf16*>(p.a), kMajorA == Major::kSum ? p.a_row : p.a_col, row0, p.m,
                      step * kDepth, p.k, stage);
        load<kMajorB>(static_cast<const Bf16*>(p.b), kMajorB == Major::kSum ? p.b_row : p.b_col, col0, p.n,
                      step * kDepth, p.k, stage + kOperandElements);
      }
      asm volatile("cp.async.commit_group;\n" ::: "memory");
    };
    for (int step = 0; step < kStages - 1; ++step) load_step(step);
    for (int64_t step = 0; step < steps; ++step) {
      asm volatile("cp.async.wait_group %0;\n" ::"n"(kStages - 2) : "memory");
      __syncthreads();  // the stage is full, and the one to be filled next is no longer read
      load_step(step + kStages - 1);
      const Bf16* stage = shared + step % kStages * 2 * kOperandElements;
      multiply(stage, stage + kOperandElements, sums);
    }
    asm volatile("cp.async.wait_group 0;\n" ::: "memory");
    store(p, row0, col0, sums);
  }

 private:
  // With Major::kSum a stage has kRows rows of kDepth elements, else kDepth rows of kRows.
  template <Major kMajor>
  static constexpr int kChunks = (kMajor == Major::kSum ? kDepth : kRows) / 8;

  template <Major kMajor>
  static __device__ int place_of(int row, int chunk) {
    return (row * kChunks<kMajor> + (chunk ^ (row & 7))) * 8;
  }

  // What lies outside the matrix becomes zero.
  template <Major kMajor>
  static __device__ void load(const Bf16* from, int64_t stride, int64_t other0, int64_t others, int64_t sum0,
                              int64_t sums, Bf16* to) {
    constexpr int kInRow = kChunks<kMajor>, kAtOnce = kThreads / kInRow;
    const int chunk = static_cast<int>(threadIdx.x) % kInRow;
    const int64_t row0 = kMajor == Major::kSum ? other0 : sum0, rows = kMajor == Major::kSum ? others : sums;
    const int64_t col = (kMajor == Major::kSum ? sum0 : other0) + chunk * 8;
    const int64_t cols = kMajor == Major::kSum ? sums : others;
#pragma unroll
    for (int i = 0; i < kOperandElements / 8 / kThreads; ++i) {
      const int row = static_cast<int>(threadIdx.x) / kInRow + i * kAtOnce;
      const bool is_inside = row0 + row < rows && col < cols;
      const Bf16* source = is_inside ? from + (row0 + row) * stride + col : from;
      const auto target = static_cast<uint32_t>(__cvta_generic_to_shared(to + place_of<kMajor>(row, chunk)));
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(target), "l"(source),
                   "r"(is_inside ? 16 : 0)
                   : "memory");
    }
  }

  template <bool kTransposes>
  static __device__ void load_matrices(const Bf16* place, uint32_t (&r)[4]) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(place));
    if constexpr (kTransposes) {
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                   : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                   : "r"(address)
                   : "memory");
    } else {
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                   : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                   : "r"(address)
                   : "memory");
    }
  }

  // Of 16 rows from `row0` and 16 sums from `sum0`: {rows 0-7, 8-15} x {sums 0-7, 8-15}, rows first.
  static __device__ void load_a(const Bf16* stage, int row0, int sum0, uint32_t (&r)[4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    if constexpr (kMajorA == Major::kSum) {
      load_matrices<false>(stage + place_of<kMajorA>(row0 + (lane & 15), sum0 / 8 + (lane >> 4)), r);
    } else {
      load_matrices<true>(
          stage + place_of<kMajorA>(sum0 + (lane & 7) + (lane >> 4) * 8, row0 / 8 + ((lane >> 3) & 1)), r);
    }
  }

  // Of 16 columns from `col0` and 16 sums: {sums 0-7, 8-15} x {columns 0-7, 8-15}, sums first.
  static __device__ void load_b(const Bf16* stage, int col0, int sum0, uint32_t (&r)[4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    if constexpr (kMajorB == Major::kSum) {
      load_matrices<false>(
          stage + place_of<kMajorB>(col0 + (lane & 7) + (lane >> 4) * 8, sum0 / 8 + ((lane >> 3) & 1)), r);
    } else {
      load_matrices<true>(stage + place_of<kMajorB>(sum0 + (lane & 15), col0 / 8 + (lane >> 4)), r);
    }
  }

  static __device__ int warp_row() {
    return static_cast<int>(threadIdx.x) / kWarp / 2 * 64;
  }
  static __device__ int warp_col() {
    return static_cast<int>(threadIdx.x) / kWarp % 2 * 64;
  }

  static __device__ void multiply(const Bf16* a, const Bf16* b, float (&sums)[4][8][4]) {
    uint32_t left[2][4][4], right[2][4][4];
    const auto load_slice = [&](int slice) {
#pragma unroll
      for (int i = 0; i < 4; ++i) load_a(a, warp_row() + 16 * i, 16 * slice, left[slice % 2][i]);
#pragma unroll
      for (int j = 0; j < 4; ++j) load_b(b, warp_col() + 16 * j, 16 * slice, right[slice % 2][j]);
    };
    load_slice(0);
#pragma unroll
    for (int slice = 0; slice < kDepth / 16; ++slice) {
      if (slice + 1 < kDepth / 16) load_slice(slice + 1);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const uint32_t(&x)[4] = left[slice % 2][i];
          const uint32_t* y = right[slice % 2][j / 2] + j % 2 * 2;
          float(&d)[4] = sums[i][j];
          asm volatile(
              "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
              "{%8, %9}, {%0, %1, %2, %3};\n"
              : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
              : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
        }
      }
    }
  }

  // A thread has pairs of columns of rows 8 apart.
  static __device__ void store(const TileProblem& p, int64_t row0, int64_t col0,
                               const float (&sums)[4][8][4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    Out* c = static_cast<Out*>(p.c);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t row = row0 + warp_row() + 16 * i + 8 * half + lane / 4;
        if (row >= p.m) continue;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const int64_t col = col0 + warp_col() + 8 * j + lane % 4 * 2;
          if (col >= p.n) continue;
          Out* place = c + row * p.c_row + col;
          float values[2] = {sums[i][j][2 * half], sums[i][j][2 * half + 1]};
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
  }
};

}  // namespace megalith::cuda
