// defines: split_decode, launch_attention_decode

#include <algorithm>

#include "megalith/kernels/cuda/attention_decode.h"
#include "megalith/kernels/cuda/device/attention_tile.cuh"

namespace megalith::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kKeysAtOnce = 4;  // of one group of lanes: their loads are in flight together
constexpr int kMaxRows = 8;     // query rows of one block
constexpr int kBlocksPerSm = 4;
constexpr int kMinKeysPerSplit = 64;

/// kLanes threads read one key row of up to kDim elements, kWords 16-byte words each.
template <class T, int kDim>
struct DecodeShape {
  static constexpr int kLanes = std::min(32, kDim / kVector<T>);
  static constexpr int kWords = kDim / kVector<T> / kLanes;
  static constexpr int kGroups = kThreads / kLanes;
  static constexpr int kValues = kWords * kVector<T>;  // of one row, in one thread
};

// This thread's part of a row: word w of lane l is word w * kLanes + l of the row.
template <class T, int kDim>
__device__ void load_row(const T* row, int head_dim, int lane, uint4 (&words)[DecodeShape<T, kDim>::kWords]) {
  using Shape = DecodeShape<T, kDim>;
#pragma unroll
  for (int w = 0; w < Shape::kWords; ++w) {
    const int begin = (w * Shape::kLanes + lane) * kVector<T>;
    words[w] = row != nullptr && begin < head_dim ? __ldg(reinterpret_cast<const uint4*>(row + begin))
                                                  : make_uint4(0, 0, 0, 0);
  }
}

template <class T, int kDim>
__device__ void unpack_row(const uint4 (&words)[DecodeShape<T, kDim>::kWords],
                           float (&values)[DecodeShape<T, kDim>::kValues]) {
#pragma unroll
  for (int w = 0; w < DecodeShape<T, kDim>::kWords; ++w) {
    float part[kVector<T>];
    unpack<T>(words[w], part);
#pragma unroll
    for (int e = 0; e < kVector<T>; ++e) values[w * kVector<T> + e] = part[e];
  }
}

// Query row r of a kv head: head kv_head * group + r / queries, query r % queries. Partial results of a row
// lie as [batch * kv_heads, rows, splits] times (head_dim sums, largest score, sum of weights), in powers of
// two.
struct Row {
  int head, query;
};
__device__ Row row_at(const AttentionView& a, int kv_head, int row) {
  return {kv_head * (a.heads / a.kv_heads) + row / a.queries, row % a.queries};
}

template <class T, int kDim, int kRows>
__global__ void __launch_bounds__(kThreads)
    decode_kernel(AttentionView a, DecodeSplit split, float* partials) {
  using Shape = DecodeShape<T, kDim>;
  __shared__ float group_out[Shape::kGroups][kRows][kDim];
  __shared__ float group_largest[Shape::kGroups][kRows], group_total[Shape::kGroups][kRows];
  const int lane = static_cast<int>(threadIdx.x) % Shape::kLanes;
  const int group = static_cast<int>(threadIdx.x) / Shape::kLanes;
  const int b = static_cast<int>(blockIdx.y) / a.kv_heads,
            kv_head = static_cast<int>(blockIdx.y) % a.kv_heads;
  const int num_rows = a.heads / a.kv_heads * a.queries;
  const int first_row = static_cast<int>(blockIdx.z) * kRows;
  const int first_key = static_cast<int>(blockIdx.x) * split.keys_per_split;
  const int last_key = min(first_key + split.keys_per_split, a.keys);

  float q[kRows][Shape::kValues], out[kRows][Shape::kValues] = {};
  float largest[kRows], total[kRows];
  VisibleKeys visible[kRows];
  const float scale = a.scale * kLog2E;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const bool is_row = first_row + r < num_rows;
    const Row row = row_at(a, kv_head, is_row ? first_row + r : 0);
    uint4 words[Shape::kWords];
    load_row<T, kDim>(head_base<T>(a.q, b, row.head) + row.query * a.q.token_stride, a.head_dim, lane, words);
    unpack_row<T, kDim>(words, q[r]);
#pragma unroll
    for (int e = 0; e < Shape::kValues; ++e) q[r][e] *= scale;
    visible[r] = is_row ? visible_keys(a, b, row.query) : VisibleKeys{0, 0};
    largest[r] = -INFINITY;
    total[r] = 0;
  }

  const T* k = head_base<T>(a.k, b, kv_head);
  const T* v = head_base<T>(a.v, b, kv_head);
  for (int base = first_key; base < last_key; base += Shape::kGroups * kKeysAtOnce) {
    uint4 k_words[kKeysAtOnce][Shape::kWords], v_words[kKeysAtOnce][Shape::kWords];
#pragma unroll
    for (int u = 0; u < kKeysAtOnce; ++u) {
      const int key = base + u * Shape::kGroups + group;
      load_row<T, kDim>(key < last_key ? k + key * a.k.token_stride : nullptr, a.head_dim, lane, k_words[u]);
      load_row<T, kDim>(key < last_key ? v + key * a.v.token_stride : nullptr, a.head_dim, lane, v_words[u]);
    }
    float scores[kKeysAtOnce][kRows];
#pragma unroll
    for (int u = 0; u < kKeysAtOnce; ++u) {
      const int key = base + u * Shape::kGroups + group;
      float values[Shape::kValues];
      unpack_row<T, kDim>(k_words[u], values);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        float sum = 0;
#pragma unroll
        for (int e = 0; e < Shape::kValues; ++e) sum += q[r][e] * values[e];
#pragma unroll
        for (int step = Shape::kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
        const bool is_visible = key < last_key && key >= visible[r].begin && key < visible[r].end;
        scores[u][r] = is_visible ? sum : -INFINITY;
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float new_largest = largest[r];
#pragma unroll
      for (int u = 0; u < kKeysAtOnce; ++u) new_largest = fmaxf(new_largest, scores[u][r]);
      const float zero_point = new_largest == -INFINITY ? 0 : new_largest;
      const float factor = exp2f(largest[r] - zero_point);
      largest[r] = new_largest;
      total[r] *= factor;
#pragma unroll
      for (int e = 0; e < Shape::kValues; ++e) out[r][e] *= factor;
#pragma unroll
      for (int u = 0; u < kKeysAtOnce; ++u) {
        scores[u][r] = exp2f(scores[u][r] - zero_point);
        total[r] += scores[u][r];
      }
    }
#pragma unroll
    for (int u = 0; u < kKeysAtOnce; ++u) {
      float values[Shape::kValues];
      unpack_row<T, kDim>(v_words[u], values);
#pragma unroll
      for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int e = 0; e < Shape::kValues; ++e) out[r][e] += scores[u][r] * values[e];
    }
  }

#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int e = 0; e < Shape::kValues; ++e) {
      const int word = e / kVector<T> * Shape::kLanes + lane;
      group_out[group][r][word * kVector<T> + e % kVector<T>] = out[r][e];
    }
    if (lane == 0) group_largest[group][r] = largest[r], group_total[group][r] = total[r];
  }
  __syncthreads();
  const int width = a.head_dim + 2;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * width; i += kThreads) {
    const int r = i / width, d = i % width;
    if (first_row + r >= num_rows) break;
    float joint_largest = -INFINITY;
    for (int g = 0; g < Shape::kGroups; ++g) joint_largest = fmaxf(joint_largest, group_largest[g][r]);
    const float zero_point = joint_largest == -INFINITY ? 0 : joint_largest;
    float sum = d == a.head_dim ? joint_largest : 0;
    if (d != a.head_dim) {
      for (int g = 0; g < Shape::kGroups; ++g)
        sum += exp2f(group_largest[g][r] - zero_point) *
               (d < a.head_dim ? group_out[g][r][d] : group_total[g][r]);
    }
    const int64_t place =
        (static_cast<int64_t>(blockIdx.y) * num_rows + first_row + r) * split.splits + blockIdx.x;
    partials[place * width + d] = sum;
  }
}

// One block a query row.
template <class T>
__global__ void join_kernel(AttentionView a, DecodeSplit split, const float* partials) {
  const int b = static_cast<int>(blockIdx.y) / a.kv_heads,
            kv_head = static_cast<int>(blockIdx.y) % a.kv_heads;
  const Row row = row_at(a, kv_head, static_cast<int>(blockIdx.x));
  const int width = a.head_dim + 2;
  const float* parts =
      partials + (static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * split.splits * width;
  float largest = -INFINITY, total = 0;
  for (int s = 0; s < split.splits; ++s) largest = fmaxf(largest, parts[s * width + a.head_dim]);
  const float zero_point = largest == -INFINITY ? 0 : largest;
  for (int s = 0; s < split.splits; ++s)
    total += exp2f(parts[s * width + a.head_dim] - zero_point) * parts[s * width + a.head_dim + 1];
  T* out = head_base<T>(a.out, b, row.head) + row.query * a.out.token_stride;
  for (int d = static_cast<int>(threadIdx.x); d < a.head_dim; d += static_cast<int>(blockDim.x)) {
    float sum = 0;
    for (int s = 0; s < split.splits; ++s)
      sum += exp2f(parts[s * width + a.head_dim] - zero_point) * parts[s * width + d];
    out[d] = from_acc<T>(total == 0 ? 0 : sum / total);
  }
  if (a.lse != nullptr && threadIdx.x == 0)
    a.lse[(static_cast<int64_t>(b) * a.heads + row.head) * a.queries + row.query] =
        total == 0 ? -INFINITY : (largest + log2f(total)) * kLn2;
}

template <class T, int kDim, int kRows>
void launch(const AttentionView& a, const DecodeSplit& split, float* partials, cudaStream_t stream) {
  const int num_rows = a.heads / a.kv_heads * a.queries;
  const dim3 grid(split.splits, a.batch * a.kv_heads, (num_rows + kRows - 1) / kRows);
  decode_kernel<T, kDim, kRows><<<grid, kThreads, 0, stream>>>(a, split, partials);
}

template <class T, int kDim>
void launch_rows(const AttentionView& a, const DecodeSplit& split, float* partials, cudaStream_t stream) {
  const int num_rows = a.heads / a.kv_heads * a.queries;
  if (num_rows == 1) return launch<T, kDim, 1>(a, split, partials, stream);
  if (num_rows <= 4) return launch<T, kDim, 4>(a, split, partials, stream);
  launch<T, kDim, kMaxRows>(a, split, partials, stream);
}

template <class T>
cudaError_t launch_for(const AttentionView& a, const DecodeSplit& split, float* partials,
                       cudaStream_t stream) {
  if (a.head_dim <= 32) {
    launch_rows<T, 32>(a, split, partials, stream);
  } else if (a.head_dim <= 64) {
    launch_rows<T, 64>(a, split, partials, stream);
  } else if (a.head_dim <= 128) {
    launch_rows<T, 128>(a, split, partials, stream);
  } else if (a.head_dim <= 256) {
    launch_rows<T, 256>(a, split, partials, stream);
  } else {
    return cudaErrorInvalidValue;
  }
  const dim3 grid(a.heads / a.kv_heads * a.queries, a.batch * a.kv_heads);
  join_kernel<T><<<grid, std::clamp((a.head_dim + 31) / 32 * 32, 32, 128), 0, stream>>>(a, split, partials);
  return cudaGetLastError();
}

}  // namespace

DecodeSplit split_decode(const AttentionView& view, int sm_count) {
  const int pairs = view.batch * view.kv_heads;
  const int wanted = (kBlocksPerSm * sm_count + pairs - 1) / pairs;
  const int splits =
      std::clamp(wanted, 1, std::max(1, (view.keys + kMinKeysPerSplit - 1) / kMinKeysPerSplit));
  const int keys_per_split = ((view.keys + splits - 1) / splits + 31) / 32 * 32;
  return {(view.keys + keys_per_split - 1) / keys_per_split, keys_per_split};
}

cudaError_t launch_attention_decode(const AttentionView& view, const DecodeSplit& split, float* partials,
                                    ElementKind kind, cudaStream_t stream) {
  switch (kind) {
    case ElementKind::kF32:
      return launch_for<float>(view, split, partials, stream);
    case ElementKind::kBF16:
      return launch_for<Bf16>(view, split, partials, stream);
    default:
      return launch_for<__half>(view, split, partials, stream);
  }
}

}  // namespace megalith::cuda
