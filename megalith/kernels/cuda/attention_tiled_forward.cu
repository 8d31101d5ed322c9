// defines: launch_attention_tiled

#include <algorithm>

#include "megalith/kernels/cuda/attention_tiled.h"
#include "megalith/kernels/cuda/device/attention_tile.cuh"

namespace megalith::cuda {
namespace {

// Queries [first, first + kRows) of one head. `largest` and `total` of a row are held alike by its 16
// threads. Keys and values take turns in one tile: two blocks then fit a multiprocessor.
template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads) forward_kernel(AttentionView args) {
  const AttentionView a = with_num_keys(args);
  constexpr int kOwn = Tile::kOwnRows;
  extern __shared__ __align__(16) float shared[];
  float* q = shared;
  float* key_value = q + Tile::kFloats;
  float* weights = key_value + Tile::kFloats;
  __shared__ int first_visible, last_visible;
  // The last query blocks see the most keys under a causal mask: first, so that blocks end together.
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * Tile::kRows;
  const int head = static_cast<int>(blockIdx.y), b = static_cast<int>(blockIdx.z);
  const int kv_head = head / (a.heads / a.kv_heads);
  if (threadIdx.x == 0) first_visible = a.keys, last_visible = 0;
  __syncthreads();

  VisibleKeys visible[kOwn];
  float largest[kOwn], total[kOwn], out[kOwn][Tile::kOwnColumns] = {};
  for (int i = 0; i < kOwn; ++i) {
    visible[i] = visible_keys(a, b, first + Tile::ty() * kOwn + i);
    largest[i] = -INFINITY;
    total[i] = 0;
    if (Tile::tx() == 0 && visible[i].begin < visible[i].end) {
      atomicMin(&first_visible, visible[i].begin);
      atomicMax(&last_visible, visible[i].end);
    }
  }
  Tile::load(q, head_base<T>(a.q, b, head), a.q.token_stride, first, a.queries, a.head_dim, a.is_aligned);
  __syncthreads();

  const float scale = a.scale * kLog2E;
  const int end = last_visible;
  for (int key = first_visible / Tile::kRows * Tile::kRows; key < end; key += Tile::kRows) {
    __syncthreads();
    Tile::load(key_value, head_base<T>(a.k, b, kv_head), a.k.token_stride, key, a.keys, a.head_dim,
               a.is_aligned);
    __syncthreads();
    float scores[kOwn][kOwn];
    Tile::multiply_rows(q, key_value, scores);
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      float tile_largest = -INFINITY;
#pragma unroll
      for (int j = 0; j < kOwn; ++j) {
        const int place = key + Tile::tx() + 16 * j;
        const bool is_visible = place >= visible[i].begin && place < visible[i].end;
        scores[i][j] = is_visible ? scores[i][j] * scale : -INFINITY;
        tile_largest = fmaxf(tile_largest, scores[i][j]);
      }
      const float new_largest = fmaxf(largest[i], half_warp_max(tile_largest));
      const float base = new_largest == -INFINITY ? 0 : new_largest;  // a row that has seen no key yet
      float sum = 0;
#pragma unroll
      for (int j = 0; j < kOwn; ++j) {
        const float weight = exp2f(scores[i][j] - base);
        sum += weight;
        weights[(Tile::ty() * kOwn + i) * Tile::kWeightStride + Tile::tx() + 16 * j] = weight;
      }
      const float factor = exp2f(largest[i] - base);
      total[i] = total[i] * factor + half_warp_sum(sum);
      largest[i] = new_largest;
#pragma unroll
      for (int c = 0; c < Tile::kOwnColumns; ++c) out[i][c] *= factor;
    }
    __syncthreads();
    Tile::load(key_value, head_base<T>(a.v, b, kv_head), a.v.token_stride, key, a.keys, a.head_dim,
               a.is_aligned);
    if (a.dropout_threshold > 0) {
      constexpr int kQuads = Tile::kRows / 4;
      for (int i = static_cast<int>(threadIdx.x); i < Tile::kRows * kQuads; i += Tile::kThreads) {
        const int row = i / kQuads, quad = i % kQuads;
        const int64_t row_index = (static_cast<int64_t>(b) * a.heads + head) * a.queries + first + row;
        const float4 kept = kept_factors(a, row_index, key + 4 * quad);
        float* weight = weights + row * Tile::kWeightStride + 4 * quad;
        weight[0] *= kept.x;
        weight[1] *= kept.y;
        weight[2] *= kept.z;
        weight[3] *= kept.w;
      }
    }
    __syncthreads();
    Tile::add_weighted(weights, key_value, out);
  }

  float factors[kOwn];
  for (int i = 0; i < kOwn; ++i) {
    factors[i] = total[i] == 0 ? 0 : 1 / total[i];
    const int query = first + Tile::ty() * kOwn + i;
    if (a.lse != nullptr && Tile::tx() == 0 && query < a.queries)
      a.lse[(static_cast<int64_t>(b) * a.heads + head) * a.queries + query] =
          total[i] == 0 ? -INFINITY : (largest[i] + log2f(total[i])) * kLn2;
  }
  Tile::store(head_base<T>(a.out, b, head), a.out.token_stride, first, a.queries, a.head_dim, out, factors);
}

template <class Tile>
constexpr int kSharedBytes = (2 * Tile::kFloats + Tile::kWeightFloats) * 4;

template <class T, int kDim, int kRows>
cudaError_t launch(const AttentionView& a, cudaStream_t stream) {
  using Tile = AttentionTile<kDim, kRows>;
  constexpr int kBytes = kSharedBytes<Tile>;
  const cudaError_t status =
      cudaFuncSetAttribute(forward_kernel<T, Tile>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  const dim3 grid((a.queries + kRows - 1) / kRows, a.heads, a.batch);
  forward_kernel<T, Tile><<<grid, Tile::kThreads, kBytes, stream>>>(a);
  return cudaGetLastError();
}

template <class T>
cudaError_t launch_for(const AttentionView& a, cudaStream_t stream) {
  if (a.head_dim <= 32) return launch<T, 32, 64>(a, stream);
  if (a.head_dim <= 64) return launch<T, 64, 64>(a, stream);
  if (a.head_dim <= 128) return launch<T, 128, 64>(a, stream);
  return a.head_dim <= 256 ? launch<T, 256, 32>(a, stream) : cudaErrorInvalidValue;
}

}  // namespace

const int64_t kTiledForwardSharedBytes =
    std::max(kSharedBytes<AttentionTile<128, 64>>, kSharedBytes<AttentionTile<256, 32>>);

cudaError_t launch_attention_tiled(const AttentionView& view, ElementKind kind, cudaStream_t stream) {
  switch (kind) {
    case ElementKind::kF32:
      return launch_for<float>(view, stream);
    case ElementKind::kBF16:
      return launch_for<Bf16>(view, stream);
    default:
      return launch_for<__half>(view, stream);
  }
}

}  // namespace megalith::cuda
