#include "megalith/kernels/cuda/adamw.h"
#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"

namespace megalith::cuda {
namespace {

template <class Param, int kCount>
struct StepElements {
  cpu::AdamwArgs args;
  bool has_param;
  __device__ void operator()(int64_t, int64_t vector) const {
    const int64_t place = vector * kCount;
    float grad[kCount], m[kCount], v[kCount], master[kCount];
    load_acc(args.grad + place, grad);
    load_acc(args.exp_avg + place, m);
    load_acc(args.exp_avg_sq + place, v);
    load_acc(args.master + place, master);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float g = args.grad_scale * grad[i];
      m[i] += args.beta1_rest * (g - m[i]);
      v[i] += args.beta2_rest * (g * g - v[i]);
      master[i] = master[i] * args.decay - args.step_size * m[i] / (sqrtf(v[i]) * args.root_scale + args.eps);
    }
    store_acc(args.exp_avg + place, m);
    store_acc(args.exp_avg_sq + place, v);
    store_acc(args.master + place, master);
    if (has_param) store_acc(static_cast<Param*>(args.param) + place, master);
  }
};

constexpr int kSumThreads = 256;
constexpr int64_t kMaxSumBlocks = 1024;
constexpr int64_t kElementsPerSumThread = 16;

__global__ void sum_squares(const float* x, int64_t count, double* block_sums) {
  __shared__ double shared[kWarp];
  double sum = 0;
#pragma unroll 8
  for (int64_t i = int64_t{blockIdx.x} * kSumThreads + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * kSumThreads) {
    const double value = static_cast<double>(x[i]);
    sum += value * value;
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) block_sums[blockIdx.x] = sum;
}

__global__ void sum_blocks(const double* block_sums, int count, double* total) {
  __shared__ double shared[kWarp];
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kSumThreads) sum += block_sums[i];
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) *total = sum;
}

}  // namespace

void adamw(const cpu::AdamwArgs& args, Exec& exec) {
  const auto step = [&]<class Param>() {
    constexpr int kCount = 4;
    const bool has_param = args.param != static_cast<void*>(args.master);
    const bool fits = vectors_fit(kCount, sizeof(float), args.count, {},
                                  {args.grad, args.exp_avg, args.exp_avg_sq, args.master}) &&
                      vectors_fit(kCount, sizeof(Param), args.count, {}, {args.param});
    if (fits) return launch_rows(StepElements<Param, kCount>{args, has_param}, 1, args.count / kCount, exec);
    launch_rows(StepElements<Param, 1>{args, has_param}, 1, args.count, exec);
  };
  if (args.param_dtype == DType::kBF16) return step.template operator()<Bf16>();
  if (args.param_dtype == DType::kF16) return step.template operator()<__half>();
  step.template operator()<float>();
}

void sum_of_squares(const float* x, int64_t count, double* sum, Exec& exec) {
  ScratchFrame frame(exec.scratch());
  const auto blocks =
      narrow<int>(std::min(ceil_div(count, kSumThreads * kElementsPerSumThread), kMaxSumBlocks));
  double* block_sums = frame.take<double>(blocks, "sum_of_squares blocks");
  sum_squares<<<blocks, kSumThreads, 0, exec.cuda().stream()>>>(x, count, block_sums);
  MG_CUDA_LAUNCHED();
  sum_blocks<<<1, kSumThreads, 0, exec.cuda().stream()>>>(block_sums, blocks, sum);
  MG_CUDA_LAUNCHED();
}

}  // namespace megalith::cuda
