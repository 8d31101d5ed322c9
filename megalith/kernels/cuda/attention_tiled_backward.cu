// defines: launch_attention_tiled_backward

#include <algorithm>

#include "megalith/kernels/cuda/attention_tiled.h"
#include "megalith/kernels/cuda/device/attention_tile.cuh"

namespace megalith::cuda {
namespace {

constexpr int kWarps = 8;

// delta = sum of out * d_out, one warp a row.
template <class T>
__global__ void delta_kernel(AttentionView a, AttentionGradientView g) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= static_cast<int64_t>(a.batch) * a.heads * a.queries) return;
  const int64_t query = row % a.queries;
  const int head = static_cast<int>(row / a.queries % a.heads);
  const int b = static_cast<int>(row / a.queries / a.heads);
  const T* out = head_base<T>(a.out, b, head) + query * a.out.token_stride;
  const T* d_out = head_base<T>(g.d_out, b, head) + query * g.d_out.token_stride;
  float sum = 0;
  for (int d = static_cast<int>(threadIdx.x) % 32; d < a.head_dim; d += 32)
    sum += to_acc(out[d]) * to_acc(d_out[d]);
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) sum += __shfl_xor_sync(~0u, sum, lane);
  if (threadIdx.x % 32 == 0) g.delta[row] = sum;
}

// The tiles of one block and what is known of its current queries.
template <class Tile>
struct Shared {
  __device__ explicit Shared(float* memory)
      : q(memory),
        d_out(q + Tile::kFloats),
        k(d_out + Tile::kFloats),
        v(k + Tile::kFloats),
        weights(v + Tile::kFloats),
        d_scores(weights + Tile::kWeightFloats),
        lse(d_scores + Tile::kWeightFloats),
        delta(lse + Tile::kRows),
        begin(reinterpret_cast<int*>(delta + Tile::kRows)),
        end(begin + Tile::kRows) {}
  static constexpr int kBytes = (4 * Tile::kFloats + 2 * Tile::kWeightFloats + 4 * Tile::kRows) * 4;
  float *q, *d_out, *k, *v, *weights, *d_scores;
  float *lse, *delta;  // [kRows]; lse times log2(e)
  int *begin, *end;    // [kRows] visible keys
};

// Of queries [first, first + kRows); true when one of them sees a key of [first_key, last_key).
template <class Tile>
__device__ bool load_query_rows(const AttentionView& a, const AttentionGradientView& g, int b, int head,
                                int first, int first_key, int last_key, Shared<Tile>& s) {
  const int row = static_cast<int>(threadIdx.x);
  bool is_seen = false;
  if (row < Tile::kRows) {
    const int query = first + row;
    const VisibleKeys visible = visible_keys(a, b, query);
    const int64_t index = (static_cast<int64_t>(b) * a.heads + head) * a.queries + query;
    s.lse[row] = query < a.queries ? a.lse[index] * kLog2E : 0;
    s.delta[row] = query < a.queries ? g.delta[index] : 0;
    s.begin[row] = visible.begin;
    s.end[row] = visible.end;
    is_seen = max(visible.begin, first_key) < min(visible.end, last_key);
  }
  return __syncthreads_or(is_seen) != 0;
}

// Dropped weights and gradients of the scores (over scale) of this thread's keys (rows) and queries
// (columns).
template <class Tile>
__device__ void differentiate(const AttentionView& a, int b, int head, int first, int key,
                              const Shared<Tile>& s, float (&weights)[Tile::kOwnRows][Tile::kOwnRows],
                              float (&d_scores)[Tile::kOwnRows][Tile::kOwnRows]) {
  constexpr int kOwn = Tile::kOwnRows;
  Tile::multiply_rows(s.k, s.q, weights);
  Tile::multiply_rows(s.v, s.d_out, d_scores);
  const int own_key = key + Tile::ty() * kOwn;
#pragma unroll
  for (int j = 0; j < kOwn; ++j) {
    const int row = Tile::tx() + 16 * j;
    float kept[4] = {1, 1, 1, 1};  // of the four keys from own_key / 4 * 4
    if (a.dropout_threshold > 0) {
      const int64_t row_index = (static_cast<int64_t>(b) * a.heads + head) * a.queries + first + row;
      const float4 factors = kept_factors(a, row_index, own_key);
      kept[0] = factors.x, kept[1] = factors.y, kept[2] = factors.z, kept[3] = factors.w;
    }
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const int place = own_key + i;
      const bool is_visible = place >= s.begin[row] && place < s.end[row];
      const float factor = kOwn == 4 ? kept[i] : own_key % 4 == 0 ? kept[i] : kept[i + 2];
      const float weight = is_visible ? exp2f(weights[i][j] * a.scale * kLog2E - s.lse[row]) : 0;
      d_scores[i][j] = is_visible ? weight * (d_scores[i][j] * factor - s.delta[row]) : 0;
      weights[i][j] = weight * factor;
    }
  }
}

// d_k and d_v of keys [key, key + kRows), over the query heads that share them in their order.
template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads) key_kernel(AttentionView a, AttentionGradientView g) {
  constexpr int kOwn = Tile::kOwnRows;
  extern __shared__ __align__(16) float memory[];
  Shared<Tile> s(memory);
  const int key = static_cast<int>(blockIdx.x) * Tile::kRows;
  const int kv_head = static_cast<int>(blockIdx.y), b = static_cast<int>(blockIdx.z);
  const int group = a.heads / a.kv_heads;
  Tile::load(s.k, head_base<T>(a.k, b, kv_head), a.k.token_stride, key, a.keys, a.head_dim, a.is_aligned);
  Tile::load(s.v, head_base<T>(a.v, b, kv_head), a.v.token_stride, key, a.keys, a.head_dim, a.is_aligned);
  float d_k[kOwn][Tile::kOwnColumns] = {}, d_v[kOwn][Tile::kOwnColumns] = {};
  const int first_seer = a.is_causal ? max(0, key - (a.keys - a.queries) - a.key_gap) : 0;
  const int first_query = first_seer / Tile::kRows * Tile::kRows;
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    for (int first = first_query; first < a.queries; first += Tile::kRows) {
      __syncthreads();
      if (!load_query_rows<Tile>(a, g, b, head, first, key, key + Tile::kRows, s)) continue;
      Tile::load(s.q, head_base<T>(a.q, b, head), a.q.token_stride, first, a.queries, a.head_dim,
                 a.is_aligned);
      Tile::load(s.d_out, head_base<T>(g.d_out, b, head), g.d_out.token_stride, first, a.queries, a.head_dim,
                 a.is_aligned);
      __syncthreads();
      float weights[kOwn][kOwn], d_scores[kOwn][kOwn];
      differentiate<Tile>(a, b, head, first, key, s, weights, d_scores);
#pragma unroll
      for (int i = 0; i < kOwn; ++i)
#pragma unroll
        for (int j = 0; j < kOwn; ++j) {
          const int place = (Tile::ty() * kOwn + i) * Tile::kWeightStride + Tile::tx() + 16 * j;
          s.weights[place] = weights[i][j];
          s.d_scores[place] = d_scores[i][j];
        }
      __syncthreads();
      Tile::add_weighted(s.weights, s.d_out, d_v);
      Tile::add_weighted(s.d_scores, s.q, d_k);
    }
  }
  float ones[kOwn], scales[kOwn];
  for (int i = 0; i < kOwn; ++i) ones[i] = 1, scales[i] = a.scale;
  Tile::store(head_base<T>(g.d_k, b, kv_head), g.d_k.token_stride, key, a.keys, a.head_dim, d_k, scales);
  Tile::store(head_base<T>(g.d_v, b, kv_head), g.d_v.token_stride, key, a.keys, a.head_dim, d_v, ones);
}

// d_q of queries [first, first + kRows) of one head.
template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads) query_kernel(AttentionView a, AttentionGradientView g) {
  constexpr int kOwn = Tile::kOwnRows;
  extern __shared__ __align__(16) float memory[];
  Shared<Tile> s(memory);
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * Tile::kRows;
  const int head = static_cast<int>(blockIdx.y), b = static_cast<int>(blockIdx.z);
  const int kv_head = head / (a.heads / a.kv_heads);
  Tile::load(s.q, head_base<T>(a.q, b, head), a.q.token_stride, first, a.queries, a.head_dim, a.is_aligned);
  Tile::load(s.d_out, head_base<T>(g.d_out, b, head), g.d_out.token_stride, first, a.queries, a.head_dim,
             a.is_aligned);
  load_query_rows<Tile>(a, g, b, head, first, 0, a.keys, s);
  float d_q[kOwn][Tile::kOwnColumns] = {};
  const int last_query = min(first + Tile::kRows, a.queries) - 1;
  const int end = a.is_causal ? min(last_query + a.keys - a.queries + a.key_gap + 1, a.keys) : a.keys;
  for (int key = 0; key < end; key += Tile::kRows) {
    const int row = static_cast<int>(threadIdx.x);
    const bool is_seen = row < Tile::kRows && max(s.begin[row], key) < min(s.end[row], key + Tile::kRows);
    if (__syncthreads_or(is_seen) == 0) continue;
    Tile::load(s.k, head_base<T>(a.k, b, kv_head), a.k.token_stride, key, a.keys, a.head_dim, a.is_aligned);
    Tile::load(s.v, head_base<T>(a.v, b, kv_head), a.v.token_stride, key, a.keys, a.head_dim, a.is_aligned);
    __syncthreads();
    float weights[kOwn][kOwn], d_scores[kOwn][kOwn];
    differentiate<Tile>(a, b, head, first, key, s, weights, d_scores);
#pragma unroll
    for (int j = 0; j < kOwn; ++j)
#pragma unroll
      for (int i = 0; i < kOwn; ++i)
        s.d_scores[(Tile::tx() + 16 * j) * Tile::kWeightStride + Tile::ty() * kOwn + i] = d_scores[i][j];
    __syncthreads();
    Tile::add_weighted(s.d_scores, s.k, d_q);
  }
  float scales[kOwn];
  for (int i = 0; i < kOwn; ++i) scales[i] = a.scale;
  Tile::store(head_base<T>(g.d_q, b, head), g.d_q.token_stride, first, a.queries, a.head_dim, d_q, scales);
}

template <class Kernel>
cudaError_t allow_shared(Kernel kernel, int bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

template <class T, int kDim, int kRows>
cudaError_t launch(const AttentionView& a, const AttentionGradientView& g, cudaStream_t stream) {
  using Tile = AttentionTile<kDim, kRows>;
  constexpr int kBytes = Shared<Tile>::kBytes;
  cudaError_t status = allow_shared(key_kernel<T, Tile>, kBytes);
  if (status == cudaSuccess) status = allow_shared(query_kernel<T, Tile>, kBytes);
  if (status != cudaSuccess) return status;
  if (const int64_t rows = static_cast<int64_t>(a.batch) * a.heads * a.queries; rows > 0)
    delta_kernel<T><<<static_cast<unsigned>((rows + kWarps - 1) / kWarps), kWarps * 32, 0, stream>>>(a, g);
  const dim3 key_grid((a.keys + kRows - 1) / kRows, a.kv_heads, a.batch);
  if (a.keys > 0) key_kernel<T, Tile><<<key_grid, Tile::kThreads, kBytes, stream>>>(a, g);
  const dim3 query_grid((a.queries + kRows - 1) / kRows, a.heads, a.batch);
  if (a.queries > 0) query_kernel<T, Tile><<<query_grid, Tile::kThreads, kBytes, stream>>>(a, g);
  return cudaGetLastError();
}

template <class T>
cudaError_t launch_for(const AttentionView& a, const AttentionGradientView& g, cudaStream_t stream) {
  if (a.head_dim <= 32) return launch<T, 32, 64>(a, g, stream);
  if (a.head_dim <= 64) return launch<T, 64, 64>(a, g, stream);
  if (a.head_dim <= 128) return launch<T, 128, 64>(a, g, stream);
  return a.head_dim <= 256 ? launch<T, 256, 32>(a, g, stream) : cudaErrorInvalidValue;
}

}  // namespace

const int64_t kTiledBackwardSharedBytes =
    std::max(Shared<AttentionTile<128, 64>>::kBytes, Shared<AttentionTile<256, 32>>::kBytes);

cudaError_t launch_attention_tiled_backward(const AttentionView& view, const AttentionGradientView& gradients,
                                            ElementKind kind, cudaStream_t stream) {
  switch (kind) {
    case ElementKind::kF32:
      return launch_for<float>(view, gradients, stream);
    case ElementKind::kBF16:
      return launch_for<Bf16>(view, gradients, stream);
    default:
      return launch_for<__half>(view, gradients, stream);
  }
}

}  // namespace megalith::cuda
