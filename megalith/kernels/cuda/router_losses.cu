#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/route.h"
#include "megalith/kernels/cuda/route_row.cuh"

namespace megalith::cuda {
namespace {

constexpr int kSumThreads = 1024;

// Adds the gradients of one token and gives its terms of the two sums: terms[2 t], terms[2 t + 1].
template <class T>
__global__ void loss_kernel(cpu::RouterLossArgs args, double* terms) {
  const cpu::RouteShape& shape = args.shape;
  const int lane = static_cast<int>(threadIdx.x), count = static_cast<int>(shape.num_experts);
  const int64_t t = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (t >= shape.tokens) return;
  const T* logits = static_cast<const T*>(args.logits) + t * count;
  T* d_logits = static_cast<T*>(args.d_logits) + t * count;
  const double* counts = args.counts + (args.first_token + t) / args.tokens_per_sequence * count;
  const T lse = warp_log_sum_exp(logits, count);
  double balance = 0, z = 0;
  if (args.balance_factor != 0) {
    T sum = 1;
    if (shape.is_sigmoid) {
      sum = 0;
      for (int e = lane; e < count; e += kWarp) sum += warp_sigmoid(logits[e]);
      sum = T(1e-20) + warp_sum(sum);
    }
    const auto share_of = [&](int e) {
      return shape.is_sigmoid ? warp_sigmoid(logits[e]) / sum : exp(logits[e] - lse);
    };
    T dot = 0;
    for (int e = lane; e < count; e += kWarp) dot += T(counts[e]) * share_of(e);
    dot = warp_sum(dot);
    balance = static_cast<double>(dot);
    const T factor = T(args.balance_factor * args.balance_gradient);
    for (int e = lane; e < count; e += kWarp) {
      // d/dx of s / sum s is (1 / sum) ds/dx (n - dot); s = share * sum.
      const T share = share_of(e);
      const T slope = shape.is_sigmoid ? share * (1 - share * sum) : share;
      d_logits[e] += factor * slope * (T(counts[e]) - dot);
    }
  }
  if (args.z_factor != 0) {
    z = static_cast<double>(lse) * static_cast<double>(lse);
    const T factor = T(2 * args.z_factor * args.z_gradient) * lse;
    for (int e = lane; e < count; e += kWarp) d_logits[e] += factor * exp(logits[e] - lse);
  }
  if (lane == 0) {
    terms[2 * t] = balance;
    terms[2 * t + 1] = z;
  }
}

// losses += the factors times the sums of the terms; one block, in a fixed order.
__global__ void sum_terms(cpu::RouterLossArgs args, const double* terms) {
  __shared__ double shared[2 * kWarp];
  double balance = 0, z = 0;
  for (int64_t t = threadIdx.x; t < args.shape.tokens; t += kSumThreads) {
    balance += terms[2 * t];
    z += terms[2 * t + 1];
  }
  const Pair<double> sums = block_sum_pair(balance, z, shared);
  if (threadIdx.x != 0) return;
  args.losses[0] += args.balance_factor * sums.first;
  args.losses[1] += args.z_factor * sums.second;
}

// One block.
__global__ void move_bias(const double* counts, int64_t num_experts, double rate, float* bias) {
  __shared__ double shared[kWarp];
  double sum = 0;
  for (int64_t e = threadIdx.x; e < num_experts; e += kSumThreads) sum += counts[e];
  const double mean = block_sum(sum, shared) / static_cast<double>(num_experts);
  for (int64_t e = threadIdx.x; e < num_experts; e += kSumThreads) {
    const int sign = (mean > counts[e]) - (mean < counts[e]);
    bias[e] += static_cast<float>(rate * sign);
  }
}

struct CountChoice {
  CountExpertsArgs args;
  __device__ void operator()(int64_t, int64_t choice) const {
    const int32_t expert = args.experts[choice];
    if (expert < 0 || expert >= args.num_experts) return;
    const int64_t sequence = (args.first_token + choice / args.topk) / args.tokens_per_sequence;
    atomicAdd(args.counts + sequence * args.num_experts + expert, 1.0);
  }
};

}  // namespace

void router_losses(const cpu::RouterLossArgs& args, Exec& exec) {
  const int64_t tokens = args.shape.tokens;
  if (tokens == 0) return;
  ScratchFrame frame(exec.scratch());
  double* terms = frame.take<double>(2 * tokens, "router loss terms");
  const dim3 block(kWarp, kRouteWarps);
  const auto grid = narrow<unsigned>(ceil_div<int64_t>(tokens, kRouteWarps));
  const cudaStream_t stream = exec.cuda().stream();
  if (args.shape.dtype == DType::kF64) {
    loss_kernel<double><<<grid, block, 0, stream>>>(args, terms);
  } else {
    loss_kernel<float><<<grid, block, 0, stream>>>(args, terms);
  }
  MG_CUDA_LAUNCHED();
  sum_terms<<<1, kSumThreads, 0, stream>>>(args, terms);
  MG_CUDA_LAUNCHED();
}

void count_experts(const CountExpertsArgs& args, Exec& exec) {
  launch_rows(CountChoice{args}, 1, args.tokens * args.topk, exec);
}

void move_expert_bias(const double* counts, int64_t num_experts, double rate, float* bias, Exec& exec) {
  move_bias<<<1, kSumThreads, 0, exec.cuda().stream()>>>(counts, num_experts, rate, bias);
  MG_CUDA_LAUNCHED();
}

}  // namespace megalith::cuda
