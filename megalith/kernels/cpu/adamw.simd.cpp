#include "megalith/kernels/cpu/adamw.h"

#include "megalith/kernels/cpu/gradient_types.h"
#include "megalith/kernels/cpu/tiles.h"

namespace megalith::cpu::MG_ISA {
namespace {

template <class Param, class Grad>
void step_tiles(const AdamwArgs& args) {
  const int64_t tiles = num_tiles(1, args.count);
  const bool has_param = args.param != static_cast<void*>(args.master);
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t index = 0; index < tiles; ++index) {
    const Tile tile = tile_at(index, args.count);
    float* master = args.master;
    const Grad* grad = static_cast<const Grad*>(args.grad);
    float* exp_avg = args.exp_avg;
    float* exp_avg_sq = args.exp_avg_sq;
#pragma omp simd
    for (int64_t i = tile.begin; i < tile.end; ++i) {
      const float g = args.grad_scale * load(grad[i]);
      const float m = exp_avg[i] + args.beta1_rest * (g - exp_avg[i]);
      const float v = exp_avg_sq[i] + args.beta2_rest * (g * g - exp_avg_sq[i]);
      exp_avg[i] = m;
      exp_avg_sq[i] = v;
      master[i] =
          master[i] * args.decay - args.step_size * m / (__builtin_sqrtf(v) * args.root_scale + args.eps);
    }
    if (has_param) {
      Param* param = static_cast<Param*>(args.param);
#pragma omp simd
      for (int64_t i = tile.begin; i < tile.end; ++i) store(param[i], master[i]);
    }
  }
}

}  // namespace

void adamw(const AdamwArgs& args) {
  if (args.param_dtype == DType::kBF16) {
    return dispatch_gradient<bf16>(args.grad_dtype, [&]<class Grad>() { step_tiles<bf16, Grad>(args); });
  }
  if (args.param_dtype == DType::kF16) return step_tiles<f16, float>(args);
  step_tiles<float, float>(args);
}

namespace {

template <class T>
void sum_chunks(const SumOfSquaresArgs& args) {
  const int64_t chunks = (args.count + kSumChunk - 1) / kSumChunk;
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t begin = chunk * kSumChunk;
    const int64_t end = begin + kSumChunk < args.count ? begin + kSumChunk : args.count;
    const T* x = static_cast<const T*>(args.x);
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) {
      sum += static_cast<double>(load(x[i])) * static_cast<double>(load(x[i]));
    }
    args.chunk_sums[chunk] = sum;
  }
}

}  // namespace

void sum_of_squares(const SumOfSquaresArgs& args) {
  if (args.dtype == DType::kBF16) return sum_chunks<bf16>(args);
  sum_chunks<float>(args);
}

}  // namespace megalith::cpu::MG_ISA
