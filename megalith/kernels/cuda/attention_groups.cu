#include "megalith/kernels/cuda/attention_groups.h"
#include "megalith/kernels/cuda/device/float_types.cuh"

namespace megalith::cuda {
namespace {

constexpr int kThreads = 256;

// The 16-byte word of a token's head that a thread has, of all words of [B, S, heads, D].
struct Word {
  template <class T>
  __device__ static Word of(const GroupedHeads& p, int64_t heads) {
    constexpr int kCount = kVectorBytes / static_cast<int>(sizeof(T));
    const int64_t words = p.head_dim / kCount, i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    const int64_t head = i / words % heads, token = i / words / heads;
    return {token / p.seq, token % p.seq, head, i % words * kCount};
  }
  template <class T>
  __device__ T* in(const HeadView& view, int64_t of_head) const {
    return static_cast<T*>(view.data) + b * view.batch_stride + s * view.token_stride +
           of_head * view.head_stride + d;
  }
  int64_t b, s, head, d;
};

template <class T>
__global__ void repeat_kernel(GroupedHeads p) {
  constexpr int kCount = kVectorBytes / static_cast<int>(sizeof(T));
  const Word word = Word::of<T>(p, p.heads);
  if (word.b >= p.batch) return;
  *reinterpret_cast<Vector<T, kCount>*>(word.in<T>(p.single, word.head)) =
      load_vector<kCount>(word.in<const T>(p.grouped, word.head / (p.heads / p.kv_heads)));
}

template <class T>
__global__ void sum_kernel(GroupedHeads p) {
  constexpr int kCount = kVectorBytes / static_cast<int>(sizeof(T));
  const Word word = Word::of<T>(p, p.kv_heads);
  if (word.b >= p.batch) return;
  const int64_t share = p.heads / p.kv_heads;
  float sum[kCount] = {};
  for (int64_t i = 0; i < share; ++i) {
    float term[kCount];
    load_acc(word.in<const T>(p.single, word.head * share + i), term);
#pragma unroll
    for (int e = 0; e < kCount; ++e) sum[e] += term[e];
  }
  store_acc(word.in<T>(p.grouped, word.head), sum);
}

unsigned blocks_of(const GroupedHeads& p, int64_t heads) {
  const int64_t words = p.batch * p.seq * heads * p.head_dim * 2 / kVectorBytes;
  return static_cast<unsigned>((words + kThreads - 1) / kThreads);
}

}  // namespace

cudaError_t launch_repeat_heads(const GroupedHeads& p, ElementKind kind, cudaStream_t stream) {
  auto* kernel = kind == ElementKind::kBF16 ? repeat_kernel<Bf16> : repeat_kernel<__half>;
  kernel<<<blocks_of(p, p.heads), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

cudaError_t launch_sum_groups(const GroupedHeads& p, ElementKind kind, cudaStream_t stream) {
  auto* kernel = kind == ElementKind::kBF16 ? sum_kernel<Bf16> : sum_kernel<__half>;
  kernel<<<blocks_of(p, p.kv_heads), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace megalith::cuda
