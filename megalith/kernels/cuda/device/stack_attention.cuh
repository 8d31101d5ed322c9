#pragma once
// defines: KeySplit, StackAttention
// Attention of one token over a cache, as a part of decode_stack.cu.

#include "megalith/kernels/cuda/decode_stack.h"
#include "megalith/kernels/cuda/device/float_types.cuh"

namespace megalith::cuda {

/// The keys that a token sees, shared out to blocks: of split s those from begin + s * each, up to `end`.
struct KeySplit {
  static constexpr int kKeys = 192;  // of a block, where there are blocks enough

  __device__ KeySplit(const DecodeStackArgs& args, int window) {
    const int length = __ldg(args.length);
    begin = args.first_key == nullptr ? 0 : __ldg(args.first_key);
    if (window >= 0) begin = max(begin, length - window);
    end = length + 1;
    const int keys = end - begin;
    const int wanted = max(1, min((keys + kKeys - 1) / kKeys, static_cast<int>(gridDim.x) / args.num_groups));
    each = (keys + wanted - 1) / wanted;
    splits = (keys + each - 1) / each;
  }
  int begin, end, each, splits;
};

/// A block takes one group of at most kRows query heads, which share their keys, and one split of the keys:
/// block = split * groups + group.
template <int kDim, int kRows>
class StackAttention {
 public:
  static constexpr int kWarps = 16;
  static constexpr int kPartFloats = kDim + 4;  // of a head and a split: sums, largest score, sum of weights
  static constexpr int kMergedFloats = kWarps * kRows * (kDim + 2);

  /// `q` holds [kRows, kDim] and `merged` kMergedFloats, in shared memory.
  __device__ StackAttention(const DecodeStackArgs& args, float* q, float* merged, float* parts)
      : args_(args), q_(q), merged_(merged), parts_(parts) {}

  /// Fetches this block's keys and values of earlier tokens into the L2 cache.
  __device__ void prefetch(const DecodeLayerPlaces& layer) const {
    const KeySplit split(args_, layer.window);
    const Keys keys = keys_of_block(split);
    constexpr int kRowBytes = kDim * static_cast<int>(sizeof(Bf16));
    constexpr int kLines = kRowBytes / 128;
    for (int i = threadIdx.x; i < (min(keys.end, split.end - 1) - keys.begin) * kLines; i += blockDim.x) {
      const int64_t place = row_of(keys.begin + i / kLines) * kRowBytes + i % kLines * 128;
      asm volatile("prefetch.global.L2 [%0];" ::"l"(static_cast<const char*>(layer.keys) + place));
      asm volatile("prefetch.global.L2 [%0];" ::"l"(static_cast<const char*>(layer.values) + place));
    }
  }

  /// Turns q and the new key of qkv [heads + 2 groups, head_dim] by their position, appends key and value to
  /// the cache, and writes this block's part.
  __device__ void attend(const DecodeLayerPlaces& layer, const Bf16* qkv) {
    const KeySplit split(args_, layer.window);
    const Keys keys = keys_of_block(split);
    if (keys.begin >= keys.end) return;
    turn_queries(qkv);
    if (keys.end == split.end) append(layer, qkv, split.end - 1);
    __syncthreads();
    sum_keys(layer, keys);
    __syncthreads();
    write_part();
  }

  /// Joins the parts into out [heads, head_dim], all of it in every block.
  __device__ void join(const DecodeLayerPlaces& layer, Bf16* out) const {
    const int splits = KeySplit(args_, layer.window).splits;
    for (int i = threadIdx.x; i < args_.num_heads * kDim / 4; i += blockDim.x) {
      const int d = i * 4 % kDim;
      const float* part = parts_of(i * 4 / kDim);
      float largest = -INFINITY, total = 0;
      float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 4
      for (int s = 0; s < splits; ++s, part += kPartFloats) {
        const float4 more = __ldcg(reinterpret_cast<const float4*>(part + d));
        const float2 state = __ldcg(reinterpret_cast<const float2*>(part + kDim));
        const float new_largest = fmaxf(largest, state.x);
        const float old_factor = exp2f(largest - new_largest), factor = exp2f(state.x - new_largest);
        largest = new_largest;
        total = total * old_factor + state.y * factor;
        sum = make_float4(sum.x * old_factor + more.x * factor, sum.y * old_factor + more.y * factor,
                          sum.z * old_factor + more.z * factor, sum.w * old_factor + more.w * factor);
      }
      const float values[4] = {sum.x / total, sum.y / total, sum.z / total, sum.w / total};
      store_acc(out + i * 4, values);
    }
  }

 private:
  static constexpr int kLanes = kDim / 8;  // that read one row, 16 bytes each
  static constexpr int kRowsAtOnce = 32 / kLanes;
  static constexpr int kAhead = kRows == 4 ? 2 : 4;  // rows on their way to one lane, as registers allow
  static constexpr float kLog2E = 1.44269504088896340736f;

  struct Keys {
    int begin, end;
  };
  __device__ int group() const {
    return static_cast<int>(blockIdx.x) % args_.num_groups;
  }
  __device__ int rows() const {
    return args_.num_heads / args_.num_groups;
  }
  __device__ Keys keys_of_block(const KeySplit& split) const {
    const int begin = split.begin + static_cast<int>(blockIdx.x) / args_.num_groups * split.each;
    return {begin, min(begin + split.each, split.end)};
  }
  __device__ int64_t row_of(int key) const {
    return int64_t{key} * args_.num_groups + group();
  }
  __device__ float* parts_of(int head) const {
    const int max_splits = static_cast<int>(gridDim.x) / args_.num_groups;
    return parts_ + int64_t{head} * max_splits * kPartFloats;
  }

  // Pair p of a head, turned by the token's position and rounded.
  struct Pair {
    Bf16 first, second;
  };
  __device__ Pair turned(const Bf16* head, int pair) const {
    const int position = __ldg(args_.position);
    const bool is_known = position >= 0 && position < args_.num_positions;
    const int64_t place = int64_t{is_known ? position : 0} * (kDim / 2) + pair;
    const float cosine = is_known ? __ldg(args_.cos + place) : NAN;
    const float sine = is_known ? __ldg(args_.sin + place) : NAN;
    const float a = read(head + pair), b = read(head + pair + kDim / 2);
    return {from_acc<Bf16>(a * cosine - b * sine), from_acc<Bf16>(b * cosine + a * sine)};
  }
  // Other blocks wrote it: past the first cache.
  __device__ static float read(const Bf16* place) {
    return to_acc(__ushort_as_bfloat16(__ldcg(reinterpret_cast<const unsigned short*>(place))));
  }

  __device__ void turn_queries(const Bf16* qkv) {
    const float scale = args_.scale * kLog2E;
    for (int i = threadIdx.x; i < rows() * (kDim / 2); i += blockDim.x) {
      const int row = i / (kDim / 2), pair = i % (kDim / 2);
      const Pair value = turned(qkv + (group() * rows() + row) * kDim, pair);
      q_[row * kDim + pair] = to_acc(value.first) * scale;
      q_[row * kDim + pair + kDim / 2] = to_acc(value.second) * scale;
    }
  }

  __device__ void append(const DecodeLayerPlaces& layer, const Bf16* qkv, int place) {
    const int pair = static_cast<int>(blockDim.x - 1 - threadIdx.x);  // by threads that have no query
    if (pair >= kDim / 2) return;
    const Bf16* key = qkv + (args_.num_heads + group()) * kDim;
    const Bf16* value = key + args_.num_groups * kDim;
    Bf16* keys = static_cast<Bf16*>(layer.keys) + row_of(place) * kDim;
    Bf16* values = static_cast<Bf16*>(layer.values) + row_of(place) * kDim;
    const Pair turned_key = turned(key, pair);
    keys[pair] = turned_key.first;
    keys[pair + kDim / 2] = turned_key.second;
    reinterpret_cast<uint32_t*>(values)[pair] = __ldcg(reinterpret_cast<const uint32_t*>(value) + pair);
  }

  // Softmax sums over this block's keys: of each warp over its own, of a lane over its eight dimensions.
  __device__ void sum_keys(const DecodeLayerPlaces& layer, Keys keys) {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int first_dim = lane % kLanes * 8;
    float q[kRows][8], out[kRows][8] = {}, largest[kRows], total[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int e = 0; e < 8; ++e) q[r][e] = r < rows() ? q_[r * kDim + first_dim + e] : 0;
      largest[r] = -INFINITY;
      total[r] = 0;
    }
    constexpr int kStep = kWarps * kRowsAtOnce;
    for (int base = keys.begin + warp * kRowsAtOnce; base < keys.end; base += kAhead * kStep) {
      Vector<Bf16, 8> key[kAhead], value[kAhead];
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        const int row = base + u * kStep + lane / kLanes;
        key[u] = load(layer.keys, row < keys.end ? row : -1, first_dim);
        value[u] = load(layer.values, row < keys.end ? row : -1, first_dim);
      }
      float scores[kAhead][kRows];
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        float k[8];
        to_acc(key[u], k);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          float sum = 0;
#pragma unroll
          for (int e = 0; e < 8; ++e) sum += q[r][e] * k[e];
#pragma unroll
          for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
          scores[u][r] = base + u * kStep + lane / kLanes < keys.end ? sum : -INFINITY;
        }
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        float new_largest = largest[r];
#pragma unroll
        for (int u = 0; u < kAhead; ++u) new_largest = fmaxf(new_largest, scores[u][r]);
        const float factor = power(largest[r], new_largest);
        largest[r] = new_largest;
        total[r] *= factor;
#pragma unroll
        for (int e = 0; e < 8; ++e) out[r][e] *= factor;
#pragma unroll
        for (int u = 0; u < kAhead; ++u) {
          const float weight = power(scores[u][r], new_largest);
          float v[8];
          to_acc(value[u], v);
          total[r] += weight;
#pragma unroll
          for (int e = 0; e < 8; ++e) out[r][e] += weight * v[e];
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int step = kLanes; step < 32; step *= 2) {
        const float other = __shfl_xor_sync(~0u, largest[r], step);
        const float joint = fmaxf(largest[r], other);
        const float factor = power(largest[r], joint), other_factor = power(other, joint);
        largest[r] = joint;
        total[r] = total[r] * factor + __shfl_xor_sync(~0u, total[r], step) * other_factor;
#pragma unroll
        for (int e = 0; e < 8; ++e)
          out[r][e] = out[r][e] * factor + __shfl_xor_sync(~0u, out[r][e], step) * other_factor;
      }
      float* merged = merged_ + (warp * kRows + r) * (kDim + 2);
      if (lane < kLanes) {
#pragma unroll
        for (int e = 0; e < 8; ++e) merged[first_dim + e] = out[r][e];
      }
      if (lane == 0) merged[kDim] = largest[r], merged[kDim + 1] = total[r];
    }
  }
  __device__ Vector<Bf16, 8> load(const void* rows, int row, int dim) const {
    uint4 words = make_uint4(0, 0, 0, 0);
    if (row >= 0)
      words =
          __ldcg(reinterpret_cast<const uint4*>(static_cast<const Bf16*>(rows) + row_of(row) * kDim + dim));
    return *reinterpret_cast<const Vector<Bf16, 8>*>(&words);
  }
  // 2^(x - largest), and 0 where there is no largest yet.
  __device__ static float power(float x, float largest) {
    return largest == -INFINITY ? 0 : exp2f(x - largest);
  }

  __device__ void write_part() const {
    const int split = static_cast<int>(blockIdx.x) / args_.num_groups;
    for (int i = threadIdx.x; i < rows() * kDim; i += blockDim.x) {
      const int row = i / kDim, d = i % kDim;
      const float* merged = merged_ + row * (kDim + 2);
      constexpr int kStep = kRows * (kDim + 2);
      float largest = -INFINITY, sum = 0, total = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) largest = fmaxf(largest, merged[w * kStep + kDim]);
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const float factor = power(merged[w * kStep + kDim], largest);
        sum += factor * merged[w * kStep + d];
        total += factor * merged[w * kStep + kDim + 1];
      }
      float* part = parts_of(group() * rows() + row) + int64_t{split} * kPartFloats;
      part[d] = sum;
      if (d == 0) part[kDim] = largest, part[kDim + 1] = total;
    }
  }

  const DecodeStackArgs& args_;
  float* q_;
  float* merged_;
  float* parts_;
};

}  // namespace megalith::cuda
