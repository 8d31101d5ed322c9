#pragma once
// defines: DecodeRow, decode_row, keys_per_split, write_decode_part
// What the two decode kernels share.

#include "megalith/kernels/cuda/attention_decode.h"
#include "megalith/kernels/cuda/device/attention_tile.cuh"

namespace megalith::cuda {

/// Query row r of a kv head: head kv_head * group + r / queries, query r % queries.
struct DecodeRow {
  int head, query;
};
__device__ inline DecodeRow decode_row(const AttentionView& a, int kv_head, int row) {
  return {kv_head * (a.heads / a.kv_heads) + row / a.queries, row % a.queries};
}

/// As in `split`, or where the number of keys is on the device, of those that there are.
__device__ inline int keys_per_split(const AttentionView& a, const DecodeSplit& split) {
  if (a.num_keys == nullptr) return split.keys_per_split;
  return ((a.keys + split.splits - 1) / split.splits + kKeysOfSplit - 1) / kKeysOfSplit * kKeysOfSplit;
}

/// Joins the parts of a block in their order and writes them. `part(p, row, d)` is the sum of part p for d <
/// head_dim, and for d = head_dim + 1 the sum of the weights; both over 2^largest[p][row]. Partial results
/// lie as [batch * kv_heads, rows, splits] times (head_dim sums, largest score, sum of weights), scores in
/// powers of two.
template <int kParts, int kRows, class Part>
__device__ void write_decode_part(const AttentionView& a, const DecodeSplit& split, int first_row,
                                  int num_rows, const float (&largest)[kParts][kRows], const Part& part,
                                  float* partials) {
  const int width = a.head_dim + 2;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * width; i += static_cast<int>(blockDim.x)) {
    const int row = i / width, d = i % width;
    if (first_row + row >= num_rows) break;
    float joint_largest = -INFINITY;
#pragma unroll
    for (int p = 0; p < kParts; ++p) joint_largest = fmaxf(joint_largest, largest[p][row]);
    const float zero_point = joint_largest == -INFINITY ? 0 : joint_largest;
    float sum = d == a.head_dim ? joint_largest : 0;
    if (d != a.head_dim) {
      for (int p = 0; p < kParts; ++p) sum += exp2f(largest[p][row] - zero_point) * part(p, row, d);
    }
    const int64_t place =
        (static_cast<int64_t>(blockIdx.y) * num_rows + first_row + row) * split.splits + blockIdx.x;
    partials[place * width + d] = sum;
  }
}

}  // namespace megalith::cuda
