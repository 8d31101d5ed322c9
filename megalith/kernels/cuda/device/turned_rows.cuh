#pragma once
// defines: kTurnBytes, pack, TurnedRows

#include <cstdint>

#include "megalith/kernels/cuda/device/float_types.cuh"

namespace megalith::cuda {

/// Of shared memory, for one warp: twice 16 rows of 64 values of 2 bytes.
constexpr int kTurnBytes = 2 * 16 * 64 * 2;

/// Two neighbouring columns, rounded.
__device__ inline uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

/// A warp's 16 rows of 256 columns, rounded, from the order in which tensor cores leave them
/// (warpgroup_mma.cuh) to rows: a lane comes to hold 8 neighbouring columns, and what the warp stores are
/// whole lines of 128 bytes. Two quarters of 64 columns lie in shared memory at a time, the others wait in
/// registers for next(). The 16-byte units of a row stand in an order of its own, so that no two lanes meet
/// in a bank.
class TurnedRows {
 public:
  __device__ explicit TurnedRows(uint32_t shared) : shared_(shared) {}

  /// The quarters that are read first, as 0 and 1, and those that are read behind next().
  template <int kFirst0, int kFirst1, int kNext0, int kNext1>
  __device__ void take(const float (&sums)[128]) {
    uint32_t first[32];
    round<kFirst0>(sums, first, 0);
    round<kFirst1>(sums, first, 16);
    put(first);
    round<kNext0>(sums, rest_, 0);
    round<kNext1>(sums, rest_, 16);
  }
  __device__ void next() { put(rest_); }

  /// A lane's vector `i` of 0 .. 3 of a quarter: its row and first column there.
  __device__ static int32_t row(int i) { return 4 * i + static_cast<int32_t>(threadIdx.x % 32 / 8); }
  __device__ static int32_t col() { return static_cast<int32_t>(threadIdx.x % 8) * 8; }
  __device__ uint4 get(int quarter, int i) const {
    uint4 eight;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(eight.x), "=r"(eight.y), "=r"(eight.z), "=r"(eight.w)
                 : "r"(place(quarter, static_cast<uint32_t>(row(i)), threadIdx.x % 8))
                 : "memory");
    return eight;
  }

 private:
  template <int kQuarter>
  __device__ static void round(const float (&sums)[128], uint32_t (&words)[32], int first) {
#pragma unroll
    for (int i = 0; i < 16; ++i)
      words[first + i] = pack(sums[32 * kQuarter + 2 * i], sums[32 * kQuarter + 2 * i + 1]);
  }
  // Four 8 x 8 matrices at a time: 16 rows of 16 columns.
  __device__ void put(const uint32_t (&words)[32]) {
    const uint32_t lane = threadIdx.x % 32;
    __syncwarp();  // what lay there has been read
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                       place(i / 4, lane % 16, 2 * (i % 4) + lane / 16)),
                   "r"(words[4 * i]), "r"(words[4 * i + 1]), "r"(words[4 * i + 2]), "r"(words[4 * i + 3])
                   : "memory");
    }
    __syncwarp();
  }
  __device__ uint32_t place(int quarter, uint32_t row, uint32_t unit) const {
    return shared_ + static_cast<uint32_t>(quarter * kTurnBytes / 2) + row * 128 + (unit ^ (row % 8)) * 16;
  }

  uint32_t shared_;
  uint32_t rest_[32];
};

}  // namespace megalith::cuda
