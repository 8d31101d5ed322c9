#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "megalith/base/error.h"
#include "megalith/comm/nccl_sum.h"
#include "megalith/core/cuda/check.h"

namespace megalith {
namespace {

constexpr int kBlock = 512;
// Enough to reach the memory's bandwidth; few, because large kernels run at the same time.
constexpr int64_t kMaxBlocks = 264;

struct Inputs {
  const void* data[kMaxSummed];
};

__device__ float to_float(float x) {
  return x;
}
__device__ float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
__device__ float to_float(__half x) {
  return __half2float(x);
}
__device__ void store(float x, float& to) {
  to = x;
}
__device__ void store(float x, __nv_bfloat16& to) {
  to = __float2bfloat16(x);
}
__device__ void store(float x, __half& to) {
  to = __float2half(x);
}

template <class T, int kCount>
struct alignas(kCount * sizeof(T)) Vector {
  T elements[kCount];
};

template <class T, int kCount, int kNum>
__global__ void __launch_bounds__(kBlock)
    sum_kernel(Inputs in, int num_inputs, T* out, int64_t count, float divisor) {
  using Elements = Vector<T, kCount>;
  const int num = kNum > 0 ? kNum : num_inputs;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kBlock;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x; at < count / kCount;
       at += stride) {
    float sum[kCount];
#pragma unroll
    for (int r = 0; r < num; ++r) {
      const Elements x = static_cast<const Elements*>(in.data[r])[at];
#pragma unroll
      for (int i = 0; i < kCount; ++i)
        sum[i] = r == 0 ? to_float(x.elements[i]) : sum[i] + to_float(x.elements[i]);
    }
    Elements y;
#pragma unroll
    for (int i = 0; i < kCount; ++i) store(sum[i] / divisor, y.elements[i]);
    reinterpret_cast<Elements*>(out)[at] = y;
  }
}

template <class T, int kCount>
void launch(const Inputs& in, int num, T* out, int64_t count, float divisor, CUstream_st* stream) {
  const int64_t blocks = (count / kCount + kBlock - 1) / kBlock;
  const auto grid = static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks);
  if (num == 2)
    sum_kernel<T, kCount, 2><<<grid, kBlock, 0, stream>>>(in, num, out, count, divisor);
  else if (num == 4)
    sum_kernel<T, kCount, 4><<<grid, kBlock, 0, stream>>>(in, num, out, count, divisor);
  else if (num == 8)
    sum_kernel<T, kCount, 8><<<grid, kBlock, 0, stream>>>(in, num, out, count, divisor);
  else
    sum_kernel<T, kCount, 0><<<grid, kBlock, 0, stream>>>(in, num, out, count, divisor);
  MG_CUDA_CHECK(cudaGetLastError());
}

template <class T>
void sum(std::span<const std::byte* const> in, std::byte* out, int64_t count, float divisor,
         CUstream_st* stream) {
  constexpr int kCount = 16 / sizeof(T);
  Inputs inputs{};
  bool is_aligned = reinterpret_cast<uintptr_t>(out) % 16 == 0 && count % kCount == 0;
  for (size_t r = 0; r < in.size(); ++r) {
    inputs.data[r] = in[r];
    is_aligned = is_aligned && reinterpret_cast<uintptr_t>(in[r]) % 16 == 0;
  }
  const auto num = static_cast<int>(in.size());
  if (is_aligned)
    launch<T, kCount>(inputs, num, reinterpret_cast<T*>(out), count, divisor, stream);
  else
    launch<T, 1>(inputs, num, reinterpret_cast<T*>(out), count, divisor, stream);
}

}  // namespace

void sum_on_gpu(DType dtype, std::span<const std::byte* const> in, std::byte* out, int64_t count,
                float divisor, CUstream_st* stream) {
  MG_ASSERT(!in.empty() && in.size() <= kMaxSummed);
  if (count == 0) return;
  if (dtype == DType::kF32) return sum<float>(in, out, count, divisor, stream);
  if (dtype == DType::kBF16) return sum<__nv_bfloat16>(in, out, count, divisor, stream);
  MG_ASSERT(dtype == DType::kF16);
  sum<__half>(in, out, count, divisor, stream);
}

}  // namespace megalith
