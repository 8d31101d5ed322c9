#include "megalith/kernels/cuda/adamw.h"
#include "megalith/kernels/cuda/device/gradient_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"

namespace megalith::cuda {
namespace {

template <class Param, class Grad, int kCount>
struct StepElements {
  cpu::AdamwArgs args;
  bool has_param;
  __device__ void operator()(int64_t, int64_t vector) const {
    const int64_t place = vector * kCount;
    float grad[kCount], m[kCount], v[kCount], master[kCount];
    load_acc(static_cast<const Grad*>(args.grad) + place, grad);
    load_acc(args.exp_avg + place, m);
    load_acc(args.exp_avg_sq + place, v);
    load_acc(args.master + place, master);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      // What is fused is written out: the compiler would choose by what it knows of the arguments.
      const float g = __fmul_rn(args.grad_scale, grad[i]);
      m[i] = __fmaf_rn(__fsub_rn(g, m[i]), args.beta1_rest, m[i]);
      v[i] = __fmaf_rn(__fmaf_rn(g, g, -v[i]), args.beta2_rest, v[i]);
      const float root = __fmaf_rn(sqrtf(v[i]), args.root_scale, args.eps);
      master[i] = __fmaf_rn(master[i], args.decay, -(__fmul_rn(args.step_size, m[i]) / root));
    }
    store_acc(args.exp_avg + place, m);
    store_acc(args.exp_avg_sq + place, v);
    store_acc(args.master + place, master);
    if (has_param) store_acc(static_cast<Param*>(args.param) + place, master);
  }
};

template <class Param, class Grad, int kCount>
struct StepElementsWith {
  StepElements<Param, Grad, kCount> step;
  const AdamwNumbers* numbers;
  bool decays;
  __device__ void operator()(int64_t row, int64_t vector) const {
    const AdamwNumbers now = *numbers;
    if (now.is_applied == 0) return;
    StepElements<Param, Grad, kCount> own = step;
    own.args.grad_scale = now.grad_scale;
    own.args.decay = decays ? now.decay : 1;
    own.args.step_size = now.step_size;
    own.args.root_scale = now.root_scale;
    own(row, vector);
  }
};

// One thread, and no fused multiply-adds: the bits of the host's arithmetic.
__global__ void decide(UpdateArgs args) {
  double sum = 0;
  for (int64_t i = 0; i < args.num_terms; ++i)
    sum = __dadd_rn(sum, __dmul_rn(args.squares[i], args.weights[i]));
  const UpdateFactors factors = *args.factors;
  const double loss = *args.loss, norm = __dsqrt_rn(sum);
  *args.loss = 0;
  const double mean_norm = __dmul_rn(norm, factors.to_mean);
  const bool is_applied =
      args.is_always_applied || (isfinite(__dmul_rn(loss, factors.to_mean)) && isfinite(mean_norm));
  double clip = 1;
  if (args.max_norm > 0) {
    const double ratio = __ddiv_rn(args.max_norm, __dadd_rn(mean_norm, 1e-6));
    if (ratio < 1) clip = ratio;
  }
  *args.results = {.loss = loss, .norm = norm, .is_applied = is_applied ? 1.0 : 0.0};
  *args.numbers = {.grad_scale = static_cast<float>(__dmul_rn(clip, factors.to_mean)),
                   .decay = static_cast<float>(factors.adamw.decay),
                   .step_size = static_cast<float>(factors.adamw.step_size),
                   .root_scale = static_cast<float>(factors.adamw.root_scale),
                   .is_applied = is_applied ? 1.0f : 0.0f};
}

// Calls step<Param, Grad, elements a vector>().
template <class Step>
void dispatch_step(const cpu::AdamwArgs& args, const Step& step) {
  const auto of_types = [&]<class Param, class Grad>() {
    constexpr int kCount = 4;
    const bool fits =
        vectors_fit(kCount, sizeof(float), args.count, {}, {args.exp_avg, args.exp_avg_sq, args.master}) &&
        vectors_fit(kCount, sizeof(Grad), args.count, {}, {args.grad}) &&
        vectors_fit(kCount, sizeof(Param), args.count, {}, {args.param});
    if (fits) return step.template operator()<Param, Grad, kCount>();
    step.template operator()<Param, Grad, 1>();
  };
  if (args.param_dtype == DType::kF16) return of_types.template operator()<__half, float>();
  if (args.param_dtype == DType::kF32) return of_types.template operator()<float, float>();
  dispatch_gradient<Bf16>(args.grad_dtype, [&]<class Grad>() { of_types.template operator()<Bf16, Grad>(); });
}

template <class Param, class Grad, int kCount>
StepElements<Param, Grad, kCount> elements_of(const cpu::AdamwArgs& args) {
  return {args, args.param != static_cast<void*>(args.master)};
}

constexpr int kSumThreads = 256;
constexpr int64_t kMaxSumBlocks = 1024;
constexpr int64_t kElementsPerSumThread = 16;

template <class T, int kCount>
__global__ void sum_squares(const T* x, int64_t vectors, double* block_sums) {
  __shared__ double shared[kWarp];
  double sum = 0;
#pragma unroll 8
  for (int64_t i = int64_t{blockIdx.x} * kSumThreads + threadIdx.x; i < vectors;
       i += int64_t{gridDim.x} * kSumThreads) {
    float values[kCount];
    load_acc(x + i * kCount, values);
#pragma unroll
    for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
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
  dispatch_step(args, [&]<class Param, class Grad, int kCount>() {
    launch_rows(elements_of<Param, Grad, kCount>(args), 1, args.count / kCount, exec);
  });
}

void adamw_with(const AdamwNumbers* numbers, bool decays, const cpu::AdamwArgs& args, Exec& exec) {
  dispatch_step(args, [&]<class Param, class Grad, int kCount>() {
    launch_rows(
        StepElementsWith<Param, Grad, kCount>{elements_of<Param, Grad, kCount>(args), numbers, decays}, 1,
        args.count / kCount, exec);
  });
}

void decide_update(const UpdateArgs& args, Exec& exec) {
  decide<<<1, 1, 0, exec.cuda().stream()>>>(args);
  MG_CUDA_LAUNCHED();
}

void sum_of_squares(DType dtype, const void* x, int64_t count, double* sum, Exec& exec) {
  ScratchFrame frame(exec.scratch());
  const auto blocks =
      narrow<int>(std::min(ceil_div(count, kSumThreads * kElementsPerSumThread), kMaxSumBlocks));
  double* block_sums = frame.take<double>(blocks, "sum_of_squares blocks");
  const auto launch = [&]<class T, int kCount>() {
    sum_squares<T, kCount><<<blocks, kSumThreads, 0, exec.cuda().stream()>>>(static_cast<const T*>(x),
                                                                             count / kCount, block_sums);
  };
  constexpr int kHalves = 4;  // a thread loads 8 bytes of bf16 at once
  if (dtype == DType::kF32) {
    launch.template operator()<float, 1>();
  } else if (vectors_fit(kHalves, sizeof(Bf16), count, {}, {x})) {
    launch.template operator()<Bf16, kHalves>();
  } else {
    launch.template operator()<Bf16, 1>();
  }
  MG_CUDA_LAUNCHED();
  sum_blocks<<<1, kSumThreads, 0, exec.cuda().stream()>>>(block_sums, blocks, sum);
  MG_CUDA_LAUNCHED();
}

}  // namespace megalith::cuda
