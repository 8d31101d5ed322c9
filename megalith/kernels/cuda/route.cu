#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/route.h"
#include "megalith/kernels/cuda/route_row.cuh"

namespace megalith::cuda {
namespace {

constexpr int64_t kSharedBytes = 48 * 1024;

// The rows of one token's warp.
__host__ __device__ inline int64_t row_elements(const cpu::RouteShape& shape) {
  return 2 * shape.num_experts + shape.num_groups + shape.topk;
}

// Scores of groups that do not stay become -inf. `row` [E] and `sums` [num_groups] are working memory.
template <class T>
__device__ void drop_groups(const cpu::RouteShape& shape, T* scores, T* row, T* sums) {
  const int lane = static_cast<int>(threadIdx.x);
  const int count = static_cast<int>(shape.num_experts), groups = static_cast<int>(shape.num_groups);
  const int size = count / groups;
  for (int e = lane; e < count; e += kWarp) row[e] = scores[e];
  __syncwarp();
  for (int g = 0; g < groups; ++g) {
    T sum = 0;
    warp_choose_largest(row + g * size, size, static_cast<int>(shape.topk / shape.group_topk),
                        [&](int, int, T value) { sum += value; });
    if (lane == 0) sums[g] = sum;
  }
  T* stays = row;
  for (int g = lane; g < groups; g += kWarp) stays[g] = 0;
  __syncwarp();
  warp_choose_largest(sums, groups, static_cast<int>(shape.group_topk), [&](int, int group, T) {
    if (lane == 0) stays[group] = 1;
  });
  for (int e = lane; e < count; e += kWarp)
    if (stays[e / size] == T(0)) scores[e] = -static_cast<T>(INFINITY);
  __syncwarp();
}

template <class T>
__global__ void route_kernel(cpu::RouteArgs args) {
  extern __shared__ double shared[];
  const cpu::RouteShape& shape = args.shape;
  const int lane = static_cast<int>(threadIdx.x);
  const int count = static_cast<int>(shape.num_experts), k = static_cast<int>(shape.topk);
  const int64_t t = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (t >= shape.tokens) return;
  const T* logits = static_cast<const T*>(args.logits) + t * count;
  T* scores = reinterpret_cast<T*>(shared) + threadIdx.y * row_elements(shape);
  T* row = scores + count;
  T* sums = row + count;
  T* chosen = sums + shape.num_groups;

  const T shift = shape.is_sigmoid || !shape.pre_softmax ? T(0) : warp_log_sum_exp(logits, count);
  for (int e = lane; e < count; e += kWarp) {
    if (shape.is_sigmoid) {
      scores[e] = warp_sigmoid(logits[e]) + (args.expert_bias != nullptr ? T(args.expert_bias[e]) : T(0));
    } else {
      scores[e] = shape.pre_softmax ? exp(logits[e] - shift) : logits[e];
    }
  }
  __syncwarp();
  if (shape.num_groups > 0) drop_groups(shape, scores, row, sums);
  int32_t* experts = args.experts + t * k;
  warp_choose_largest(scores, count, k, [&](int j, int expert, T score) {
    if (lane != 0) return;
    experts[j] = expert;
    chosen[j] = shape.is_sigmoid ? warp_sigmoid(logits[expert]) : score;
  });
  const bool is_post = !shape.is_sigmoid && !shape.pre_softmax;
  const T chosen_shift = is_post ? warp_log_sum_exp(chosen, k) : T(0);
  T factor = T(shape.scale);
  if (shape.is_sigmoid && k > 1) {
    T sum = 0;
    for (int j = lane; j < k; j += kWarp) sum += chosen[j];
    factor /= T(1e-20) + warp_sum(sum);
  }
  T* probs = static_cast<T*>(args.probs) + t * k;
  for (int j = lane; j < k; j += kWarp)
    probs[j] = factor * (is_post ? exp(chosen[j] - chosen_shift) : chosen[j]);
}

template <class T>
__global__ void route_backward_kernel(cpu::RouteBackwardArgs args) {
  extern __shared__ double shared[];
  const cpu::RouteShape& shape = args.shape;
  const int lane = static_cast<int>(threadIdx.x);
  const int count = static_cast<int>(shape.num_experts), k = static_cast<int>(shape.topk);
  const int64_t t = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (t >= shape.tokens) return;
  const T scale = T(shape.scale);
  const T* logits = static_cast<const T*>(args.logits) + t * count;
  const T* d_probs = static_cast<const T*>(args.d_probs) + t * k;
  const int32_t* experts = args.experts + t * k;
  T* d_logits = static_cast<T*>(args.d_logits) + t * count;
  T* d_row = reinterpret_cast<T*>(shared) + threadIdx.y * row_elements(shape);
  T* chosen = d_row + count;
  for (int e = lane; e < count; e += kWarp) d_row[e] = 0;
  __syncwarp();

  const T shift = !shape.is_sigmoid && shape.pre_softmax ? warp_log_sum_exp(logits, count) : T(0);
  for (int j = lane; j < k; j += kWarp) {
    const T logit = logits[experts[j]];
    chosen[j] = shape.is_sigmoid ? warp_sigmoid(logit) : shape.pre_softmax ? exp(logit - shift) : logit;
  }
  __syncwarp();
  if (!shape.is_sigmoid && !shape.pre_softmax) {
    const T lse = warp_log_sum_exp(chosen, k);
    __syncwarp();
    for (int j = lane; j < k; j += kWarp) chosen[j] = exp(chosen[j] - lse);
    __syncwarp();
  }
  T sum = 0, dot = 0;
  for (int j = lane; j < k; j += kWarp) {
    sum += chosen[j];
    dot += d_probs[j] * chosen[j];
  }
  sum = warp_sum(sum);
  dot = warp_sum(dot);
  if (shape.is_sigmoid && k > 1) {
    sum += T(1e-20);
    dot /= sum;
  } else if (shape.is_sigmoid) {
    sum = 1;
    dot = 0;
  }
  for (int j = lane; j < k; j += kWarp) {
    const T s = chosen[j];
    d_row[experts[j]] = shape.is_sigmoid    ? scale * ((d_probs[j] - dot) / sum) * s * (1 - s)
                        : shape.pre_softmax ? scale * d_probs[j]
                                            : scale * s * (d_probs[j] - dot);
  }
  __syncwarp();
  for (int e = lane; e < count; e += kWarp) {
    const bool is_spread = !shape.is_sigmoid && shape.pre_softmax;
    d_logits[e] = is_spread ? exp(logits[e] - shift) * (d_row[e] - scale * dot) : d_row[e];
  }
}

template <class Kernel, class Args>
void launch_tokens(Kernel kernel, const Args& args, int64_t element_bytes, Exec& exec) {
  const cpu::RouteShape& shape = args.shape;
  if (shape.tokens == 0) return;
  const int64_t row_bytes = round_up<int64_t>(row_elements(shape) * element_bytes, 8);
  MG_CHECK(row_bytes <= kSharedBytes, "route: {} experts need {} bytes of shared memory, a GPU has {}",
           shape.num_experts, row_bytes, kSharedBytes);
  const auto warps = static_cast<unsigned>(std::clamp<int64_t>(kSharedBytes / row_bytes, 1, kRouteWarps));
  const dim3 block(kWarp, warps);
  const auto grid = narrow<unsigned>(ceil_div<int64_t>(shape.tokens, warps));
  kernel<<<grid, block, static_cast<size_t>(row_bytes * warps), exec.cuda().stream()>>>(args);
  MG_CUDA_LAUNCHED();
}

}  // namespace

void route(const cpu::RouteArgs& args, Exec& exec) {
  if (args.shape.dtype == DType::kF64) return launch_tokens(route_kernel<double>, args, 8, exec);
  launch_tokens(route_kernel<float>, args, 4, exec);
}

void route_backward(const cpu::RouteBackwardArgs& args, Exec& exec) {
  if (args.shape.dtype == DType::kF64) return launch_tokens(route_backward_kernel<double>, args, 8, exec);
  launch_tokens(route_backward_kernel<float>, args, 4, exec);
}

}  // namespace megalith::cuda
