#include "megalith/ops/update.h"

#include <algorithm>
#include <cmath>

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/adamw.h"
#include "megalith/ops/check.h"

namespace megalith {
namespace {

void decide_on_host(const UpdateArgs& args) {
  const UpdateFactors& factors = *reinterpret_cast<const UpdateFactors*>(args.factors.raw());
  double sum = 0;
  for (int64_t i = 0; i < args.squares.numel(); ++i)
    sum += args.squares.data<double>()[i] * args.weights.data<double>()[i];
  const double loss = *args.loss.data<double>(), norm = std::sqrt(sum);
  const double mean_norm = norm * factors.to_mean;
  const bool is_applied =
      args.is_always_applied || (std::isfinite(loss * factors.to_mean) && std::isfinite(mean_norm));
  *args.loss.data<double>() = 0;
  *reinterpret_cast<UpdateResults*>(args.results.raw()) = {
      .loss = loss, .norm = norm, .is_applied = is_applied ? 1.0 : 0.0};
  *reinterpret_cast<AdamwNumbers*>(args.numbers.raw()) = {
      .grad_scale = static_cast<float>(clip_coefficient(mean_norm, args.max_norm) * factors.to_mean),
      .decay = static_cast<float>(factors.adamw.decay),
      .step_size = static_cast<float>(factors.adamw.step_size),
      .root_scale = static_cast<float>(factors.adamw.root_scale),
      .is_applied = is_applied ? 1.0f : 0.0f};
}

}  // namespace

double clip_coefficient(double norm, double max_norm) {
  return max_norm > 0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1;
}

void decide_update(const UpdateArgs& args, Exec& exec) {
  constexpr const char* kOp = "decide_update";
  MG_CHECK(args.squares.defined(), "{}: squares are not given", kOp);
  const auto check = [&](const char* name, const Tensor& tensor, DType dtype, int64_t count) {
    check_tensor(kOp, name, tensor, dtype, {count}, exec);
    check_contiguous(kOp, name, tensor);
  };
  check("squares", args.squares, DType::kF64, args.squares.numel());
  check("weights", args.weights, DType::kF64, args.squares.numel());
  check("loss", args.loss, DType::kF64, 1);
  check("factors", args.factors, DType::kF64, 4);
  check("results", args.results, DType::kF64, 3);
  check("numbers", args.numbers, DType::kF32, 5);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda())
      return cuda::decide_update({.squares = args.squares.data<double>(),
                                  .weights = args.weights.data<double>(),
                                  .num_terms = args.squares.numel(),
                                  .loss = args.loss.data<double>(),
                                  .factors = reinterpret_cast<const UpdateFactors*>(args.factors.raw()),
                                  .max_norm = args.max_norm,
                                  .is_always_applied = args.is_always_applied,
                                  .results = reinterpret_cast<UpdateResults*>(args.results.raw()),
                                  .numbers = reinterpret_cast<AdamwNumbers*>(args.numbers.raw())},
                                 exec);
  }
  decide_on_host(args);
}

}  // namespace megalith
