#pragma once
// defines: AttentionTile, kVector, unpack, with_num_keys, VisibleKeys, visible_keys, head_base, philox_block,
// kept_factors, half_warp_max, half_warp_sum Building blocks of the tiled attention kernels: 256 threads as a
// 16 x 16 grid over tiles in shared memory, all in f32.

#include <cstdint>

#include "megalith/kernels/cuda/attention_view.h"
#include "megalith/kernels/cuda/device/float_types.cuh"

namespace megalith::cuda {

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

/// Elements of a 16-byte word.
template <class T>
constexpr int kVector = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
__device__ inline void unpack(const uint4& word, float (&values)[kVector<T>]) {
  const T* elements = reinterpret_cast<const T*>(&word);
#pragma unroll
  for (int i = 0; i < kVector<T>; ++i) values[i] = to_acc(elements[i]);
}

/// With the number of keys that there are by now.
__device__ inline AttentionView with_num_keys(AttentionView a) {
  if (a.num_keys != nullptr) a.keys = min(a.keys, *a.num_keys);
  return a;
}

struct VisibleKeys {
  int begin, end;
};

/// The keys that a query sees; none for a query past the last.
__device__ inline VisibleKeys visible_keys(const AttentionView& a, int b, int query) {
  if (query >= a.queries) return {0, 0};
  const int place = query + a.keys - a.queries + a.key_gap;
  int begin = 0, end = a.is_causal ? min(place + 1, a.keys) : a.keys;
  if (a.first_key.data != nullptr) begin = max(begin, a.first_key.data[b * a.first_key.batch_stride + query]);
  if (a.window >= 0) begin = max(begin, place - a.window);
  if (a.end_key.data != nullptr) end = min(end, a.end_key.data[b * a.end_key.batch_stride + query]);
  return {begin, end};
}

template <class T>
__device__ inline T* head_base(const HeadView& view, int b, int head) {
  return static_cast<T*>(view.data) + b * view.batch_stride + head * view.head_stride;
}

/// Philox4x32-10, the words of RngKey::block(index).
__device__ inline uint4 philox_block(uint64_t seed, uint64_t stream, uint64_t index) {
  uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
  uint32_t c2 = static_cast<uint32_t>(stream), c3 = static_cast<uint32_t>(stream >> 32);
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return make_uint4(c0, c1, c2, c3);
}

/// Factors of four weights of one (b, n, query) row, from a key that is a multiple of 4.
__device__ inline float4 kept_factors(const AttentionView& a, int64_t row, int key) {
  const int64_t blocks_of_row = (a.keys + 3) / 4;
  const uint4 word = philox_block(a.seed, a.stream, static_cast<uint64_t>(row * blocks_of_row + key / 4));
  const auto factor = [&](uint32_t bits) { return bits >> 8 >= a.dropout_threshold ? a.kept_scale : 0.f; };
  return make_float4(factor(word.x), factor(word.y), factor(word.z), factor(word.w));
}

/// Over the 16 threads of one row of the grid.
__device__ inline float half_warp_max(float value) {
#pragma unroll
  for (int lane = 8; lane > 0; lane /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, lane));
  return value;
}
__device__ inline float half_warp_sum(float value) {
#pragma unroll
  for (int lane = 8; lane > 0; lane /= 2) value += __shfl_xor_sync(~0u, value, lane);
  return value;
}

/// Tiles of kRows tokens of kDim >= head_dim columns; rows beyond the last token and columns beyond head_dim
/// are zero. Rows are kStride apart, so that 16-byte reads of neighbouring rows meet different banks.
/// Thread (ty, tx) owns rows ty * kOwnRows + i, and in a kRows x kRows product columns tx + 16 j; of kDim
/// columns it owns runs of kRun at (16 c + tx) kRun.
template <int kDimension, int kTileRows>
struct AttentionTile {
  static constexpr int kThreads = 256;
  static constexpr int kDim = kDimension, kRows = kTileRows;
  static constexpr int kStride = kDim + 4;
  static constexpr int kWeightStride = kRows + 4;
  static constexpr int kOwnRows = kRows / 16;
  static constexpr int kOwnColumns = kDim / 16;
  static constexpr int kRun = kOwnColumns < 4 ? kOwnColumns : 4;
  static constexpr int kFloats = kRows * kStride;
  static constexpr int kWeightFloats = kRows * kWeightStride;

  __device__ static int tx() { return static_cast<int>(threadIdx.x) % 16; }
  __device__ static int ty() { return static_cast<int>(threadIdx.x) / 16; }
  __device__ static int column(int own) { return (own / kRun * 16 + tx()) * kRun + own % kRun; }

  template <class T>
  __device__ static void load(float* tile, const T* base, int64_t token_stride, int first, int count,
                              int head_dim, bool is_aligned) {
    constexpr int kWords = kDim / kVector<T>;
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kWords; i += kThreads) {
      const int row = i / kWords, begin = i % kWords * kVector<T>;
      float values[kVector<T>] = {};
      const T* from = base + (first + row) * token_stride + begin;
      if (row < count - first && begin < head_dim) {
        if (is_aligned) {
          unpack<T>(*reinterpret_cast<const uint4*>(from), values);
        } else {
          for (int e = 0; e < kVector<T> && begin + e < head_dim; ++e) values[e] = to_acc(from[e]);
        }
      }
#pragma unroll
      for (int e = 0; e < kVector<T>; e += 4)
        *reinterpret_cast<float4*>(tile + row * kStride + begin + e) =
            make_float4(values[e], values[e + 1], values[e + 2], values[e + 3]);
    }
  }

  /// products[i][j] = row i of a times row j of b.
  __device__ static void multiply_rows(const float* a, const float* b,
                                       float (&products)[kOwnRows][kOwnRows]) {
#pragma unroll
    for (int i = 0; i < kOwnRows; ++i)
#pragma unroll
      for (int j = 0; j < kOwnRows; ++j) products[i][j] = 0;
#pragma unroll 4
    for (int d = 0; d < kDim; d += 4) {
      float4 left[kOwnRows], right[kOwnRows];
#pragma unroll
      for (int i = 0; i < kOwnRows; ++i) {
        left[i] = *reinterpret_cast<const float4*>(a + (ty() * kOwnRows + i) * kStride + d);
        right[i] = *reinterpret_cast<const float4*>(b + (tx() + 16 * i) * kStride + d);
      }
#pragma unroll
      for (int i = 0; i < kOwnRows; ++i)
#pragma unroll
        for (int j = 0; j < kOwnRows; ++j)
          products[i][j] += left[i].x * right[j].x + left[i].y * right[j].y + left[i].z * right[j].z +
                            left[i].w * right[j].w;
    }
  }

  /// sums += weights [kRows, kRows] times tile [kRows, kDim].
  __device__ static void add_weighted(const float* weights, const float* tile,
                                      float (&sums)[kOwnRows][kOwnColumns]) {
#pragma unroll 2
    for (int k = 0; k < kRows; k += 4) {
      float4 weight[kOwnRows];
#pragma unroll
      for (int i = 0; i < kOwnRows; ++i)
        weight[i] = *reinterpret_cast<const float4*>(weights + (ty() * kOwnRows + i) * kWeightStride + k);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
#pragma unroll
        for (int c = 0; c < kOwnColumns; c += kRun) {
          float values[kRun];
#pragma unroll
          for (int r = 0; r < kRun; ++r) values[r] = tile[(k + e) * kStride + column(c) + r];
#pragma unroll
          for (int i = 0; i < kOwnRows; ++i) {
            const float w = e == 0 ? weight[i].x : e == 1 ? weight[i].y : e == 2 ? weight[i].z : weight[i].w;
#pragma unroll
            for (int r = 0; r < kRun; ++r) sums[i][c + r] += w * values[r];
          }
        }
      }
    }
  }

  /// Writes the rows that exist, each times its factor.
  template <class T>
  __device__ static void store(T* base, int64_t token_stride, int first, int count, int head_dim,
                               const float (&sums)[kOwnRows][kOwnColumns], const float (&factors)[kOwnRows]) {
#pragma unroll
    for (int i = 0; i < kOwnRows; ++i) {
      const int row = first + ty() * kOwnRows + i;
      if (row >= count) continue;
#pragma unroll
      for (int c = 0; c < kOwnColumns; ++c)
        if (column(c) < head_dim) base[row * token_stride + column(c)] = from_acc<T>(sums[i][c] * factors[i]);
    }
  }
};

}  // namespace megalith::cuda
