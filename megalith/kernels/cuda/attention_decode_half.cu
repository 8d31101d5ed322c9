// defines: launch_decode_half

#include <type_traits>

#include "megalith/kernels/cuda/attention_decode.h"
#include "megalith/kernels/cuda/device/attention_decode.cuh"
#include "megalith/kernels/cuda/device/early_launch.cuh"

namespace megalith::cuda {
namespace {

// One tensor-core instruction: [16 rows, 16] times [16, 8 columns]. With g = lane / 4, t = lane % 4, a lane
// holds of the left side the pairs 2t and 2t + 8 of rows g and g + 8, of the right side the pairs 2t and 2t +
// 8 of column g, of the sums the columns 2t and 2t + 1 of rows g and g + 8.
constexpr int kTileKeys = 16;  // of one warp at a time: both halves of the left side of the second product

template <class T>
__device__ inline void multiply_add(float (&sums)[4], const uint32_t (&left)[4], uint32_t right0,
                                    uint32_t right1) {
  if constexpr (std::is_same_v<T, Bf16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
  }
}

template <class T>
__device__ inline uint32_t pack(float low, float high) {
  const T values[2] = {from_acc<T>(low), from_acc<T>(high)};
  return *reinterpret_cast<const uint32_t*>(values);
}

__device__ inline uint4 load_word(const void* place, bool is_there) {
  return is_there ? __ldg(static_cast<const uint4*>(place)) : make_uint4(0, 0, 0, 0);
}
__device__ inline const uint32_t* registers_of(const uint4& word) {
  return reinterpret_cast<const uint32_t*>(&word);
}

// The order of head_dim inside a product is free as long as both sides agree, so every lane reads whole
// 16-byte words: of a query or key row the words t, t + 4, ...; of a value row the words g, g + 8, ..., whose
// element j goes to the j-th product.
template <class T, int kDim, int kWarps, int kHalves>
__global__ void __launch_bounds__(kWarps * 32, kDim == 128 ? 3 : 4)
    decode_kernel(AttentionView args, DecodeSplit split, float* partials) {
  let_next_begin();
  wait_for_last();
  const AttentionView a = with_num_keys(args);
  constexpr int kChunks = kDim / 32, kBlocks = kDim / 64, kTileRows = 8 * kHalves;
  constexpr int kStride = kDim + 8;  // rows of a quarter warp's pairs meet different banks
  __shared__ float warp_out[kWarps][kTileRows][kStride];
  __shared__ float warp_largest[kWarps][kTileRows], warp_total[kWarps][kTileRows];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int g = lane / 4, t = lane % 4;
  const int b = static_cast<int>(blockIdx.y) / a.kv_heads,
            kv_head = static_cast<int>(blockIdx.y) % a.kv_heads;
  const int num_rows = a.heads / a.kv_heads * a.queries;
  const int first_row = static_cast<int>(blockIdx.z) * kTileRows;
  const int keys_per_block = keys_per_split(a, split);
  const int first_key = static_cast<int>(blockIdx.x) * keys_per_block;
  const int last_key = min(first_key + keys_per_block, a.keys);

  uint4 q[kHalves][kChunks];  // rows g and g + 8
  VisibleKeys visible[kHalves];
#pragma unroll
  for (int i = 0; i < kHalves; ++i) {
    const int index = first_row + g + 8 * i;
    const DecodeRow row = decode_row(a, kv_head, index < num_rows ? index : 0);
    const T* from = head_base<T>(a.q, b, row.head) + row.query * a.q.token_stride;
    visible[i] = index < num_rows ? visible_keys(a, b, row.query) : VisibleKeys{0, 0};
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const int begin = 32 * c + 8 * t;
      q[i][c] = load_word(from + begin, index < num_rows && begin < a.head_dim);
    }
  }

  float out[kBlocks][8][2 * kHalves] = {};
  float largest[kHalves], total[kHalves];
#pragma unroll
  for (int i = 0; i < kHalves; ++i) largest[i] = -INFINITY, total[i] = 0;
  const float scale = a.scale * kLog2E;
  const T* k = head_base<T>(a.k, b, kv_head);
  const T* v = head_base<T>(a.v, b, kv_head);
  for (int base = first_key + warp * kTileKeys; base < last_key; base += kWarps * kTileKeys) {
    uint4 k_words[2][kChunks], v_words[4][kBlocks];
#pragma unroll
    for (int u = 0; u < 2; ++u) {
      const int key = base + 8 * u + g;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const int begin = 32 * c + 8 * t;
        k_words[u][c] = load_word(k + key * a.k.token_stride + begin, key < last_key && begin < a.head_dim);
      }
    }
#pragma unroll
    for (int u = 0; u < 4; ++u) {
      const int key = base + 8 * (u / 2) + 2 * t + u % 2;
#pragma unroll
      for (int c = 0; c < kBlocks; ++c) {
        const int begin = 64 * c + 8 * g;
        v_words[u][c] = load_word(v + key * a.v.token_stride + begin, key < last_key && begin < a.head_dim);
      }
    }

    float scores[2][4] = {};  // [keys 8u ...][rows g, g, g + 8, g + 8]
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint32_t* low = registers_of(q[0][c]) + 2 * half;
        const uint32_t* high = registers_of(q[kHalves - 1][c]) + 2 * half;
        const uint32_t left[4] = {low[0], kHalves == 2 ? high[0] : 0, low[1], kHalves == 2 ? high[1] : 0};
#pragma unroll
        for (int u = 0; u < 2; ++u)
          multiply_add<T>(scores[u], left, registers_of(k_words[u][c])[2 * half],
                          registers_of(k_words[u][c])[2 * half + 1]);
      }
    }

    float factors[kHalves];
#pragma unroll
    for (int i = 0; i < kHalves; ++i) {
      float new_largest = largest[i];
#pragma unroll
      for (int u = 0; u < 2; ++u) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int key = base + 8 * u + 2 * t + e;
          const bool is_visible = key < last_key && key >= visible[i].begin && key < visible[i].end;
          float& score = scores[u][2 * i + e];
          score = is_visible ? score * scale : -INFINITY;
          new_largest = fmaxf(new_largest, score);
        }
      }
      new_largest = fmaxf(new_largest, __shfl_xor_sync(~0u, new_largest, 1));
      new_largest = fmaxf(new_largest, __shfl_xor_sync(~0u, new_largest, 2));
      const float zero_point = new_largest == -INFINITY ? 0 : new_largest;
      factors[i] = exp2f(largest[i] - zero_point);
      largest[i] = new_largest;
      total[i] *= factors[i];
#pragma unroll
      for (int u = 0; u < 2; ++u) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& score = scores[u][2 * i + e];
          score = exp2f(score - zero_point);
          total[i] += score;
        }
      }
    }

    uint32_t weights[4] = {};
#pragma unroll
    for (int u = 0; u < 2; ++u)
#pragma unroll
      for (int i = 0; i < kHalves; ++i) weights[2 * u + i] = pack<T>(scores[u][2 * i], scores[u][2 * i + 1]);
#pragma unroll
    for (int c = 0; c < kBlocks; ++c) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        // The j-th elements of two value rows side by side.
        const unsigned select = j % 2 == 0 ? 0x5410u : 0x7632u;
        const uint32_t right0 =
            __byte_perm(registers_of(v_words[0][c])[j / 2], registers_of(v_words[1][c])[j / 2], select);
        const uint32_t right1 =
            __byte_perm(registers_of(v_words[2][c])[j / 2], registers_of(v_words[3][c])[j / 2], select);
        float sums[4] = {};
#pragma unroll
        for (int i = 0; i < 2 * kHalves; ++i) sums[i] = out[c][j][i] * factors[i / 2];
        multiply_add<T>(sums, weights, right0, right1);
#pragma unroll
        for (int i = 0; i < 2 * kHalves; ++i) out[c][j][i] = sums[i];
      }
    }
  }

#pragma unroll
  for (int i = 0; i < kHalves; ++i) {
    total[i] += __shfl_xor_sync(~0u, total[i], 1);
    total[i] += __shfl_xor_sync(~0u, total[i], 2);
    if (t == 0) warp_largest[warp][g + 8 * i] = largest[i], warp_total[warp][g + 8 * i] = total[i];
#pragma unroll
    for (int c = 0; c < kBlocks; ++c)
#pragma unroll
      for (int j = 0; j < 8; ++j)
        // Columns in the order of the products: 64 c + 8 j + n for element 64 c + 8 n + j.
        *reinterpret_cast<float2*>(&warp_out[warp][g + 8 * i][64 * c + 8 * j + 2 * t]) =
            make_float2(out[c][j][2 * i], out[c][j][2 * i + 1]);
  }
  __syncthreads();
  const auto part = [&](int w, int row, int d) {
    return d < a.head_dim ? warp_out[w][row][d / 64 * 64 + d % 8 * 8 + d % 64 / 8] : warp_total[w][row];
  };
  write_decode_part<kWarps, kTileRows>(a, split, first_row, num_rows, warp_largest, part, partials);
}

template <class T, int kDim, int kWarps>
void launch(const AttentionView& a, const DecodeSplit& split, float* partials, cudaStream_t stream) {
  const int num_rows = a.heads / a.kv_heads * a.queries;
  if (num_rows <= 8) {
    const dim3 grid(split.splits, a.batch * a.kv_heads);
    launch_early(decode_kernel<T, kDim, kWarps, 1>, grid, kWarps * 32, 0, stream, a, split, partials);
  } else {
    const dim3 grid(split.splits, a.batch * a.kv_heads, (num_rows + 15) / 16);
    launch_early(decode_kernel<T, kDim, kWarps, 2>, grid, kWarps * 32, 0, stream, a, split, partials);
  }
}

template <class T>
void launch_for(const AttentionView& a, const DecodeSplit& split, float* partials, cudaStream_t stream) {
  if (a.head_dim <= 64) return launch<T, 64, 4>(a, split, partials, stream);
  if (a.head_dim <= 128) return launch<T, 128, 4>(a, split, partials, stream);
  launch<T, 256, 2>(a, split, partials, stream);
}

}  // namespace

cudaError_t launch_decode_half(const AttentionView& view, const DecodeSplit& split, float* partials,
                               ElementKind kind, cudaStream_t stream) {
  if (kind == ElementKind::kBF16) {
    launch_for<Bf16>(view, split, partials, stream);
  } else {
    launch_for<__half>(view, split, partials, stream);
  }
  return cudaGetLastError();
}

}  // namespace megalith::cuda
