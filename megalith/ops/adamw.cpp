#include "megalith/ops/adamw.h"

#include <cmath>

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/adamw.h"
#include "megalith/kernels/cuda/adamw.h"
#include "megalith/ops/check.h"
#include "megalith/ops/elementwise.h"

namespace megalith {

AdamwFactors adamw_factors(const AdamwSchedule& s) {
  MG_CHECK(s.step >= 1, "adamw: step {} counts from 1", s.step);
  MG_CHECK(s.beta1 >= 0 && s.beta1 < 1 && s.beta2 >= 0 && s.beta2 < 1,
           "adamw: beta1 {} and beta2 {} must be in [0, 1)", s.beta1, s.beta2);
  const auto step = static_cast<double>(s.step);
  return {.decay = 1 - s.lr * s.weight_decay,
          .step_size = s.lr / (1 - std::pow(s.beta1, step)),
          .root_scale = 1 / std::sqrt(1 - std::pow(s.beta2, step))};
}

void adamw(const AdamwArgs& args, Exec& exec) {
  MG_CHECK(args.master.defined(), "adamw: master is not given");
  const Shape shape{args.master.numel()};
  const auto check_flat = [&](const char* name, const Tensor& tensor) {
    check_tensor("adamw", name, tensor, DType::kF32, shape, exec);
    check_contiguous("adamw", name, tensor);
  };
  check_flat("master", args.master);
  check_flat("exp_avg", args.exp_avg);
  check_flat("exp_avg_sq", args.exp_avg_sq);
  check_float("adamw", "param", args.param, exec);
  MG_CHECK(args.param.dtype() != DType::kF64, "adamw: param has dtype f64; allowed: f32, bf16, f16");
  check_tensor("adamw", "param", args.param, args.param.dtype(), shape, exec);
  check_contiguous("adamw", "param", args.param);
  check_gradient("adamw", "grad", args.grad, args.param.dtype(), shape, exec);
  check_contiguous("adamw", "grad", args.grad);
  const AdamwFactors factors = adamw_factors({.lr = args.lr,
                                              .weight_decay = args.weight_decay,
                                              .beta1 = args.beta1,
                                              .beta2 = args.beta2,
                                              .step = args.step});
  cpu::AdamwArgs step_args{.param_dtype = args.param.dtype(),
                           .count = shape.numel(),
                           .param = args.param.raw(),
                           .master = args.master.data<float>(),
                           .grad_dtype = args.grad.dtype(),
                           .grad = args.grad.raw(),
                           .exp_avg = args.exp_avg.data<float>(),
                           .exp_avg_sq = args.exp_avg_sq.data<float>(),
                           .grad_scale = static_cast<float>(args.grad_scale),
                           .beta1_rest = static_cast<float>(1 - args.beta1),
                           .beta2_rest = static_cast<float>(1 - args.beta2),
                           .decay = static_cast<float>(factors.decay),
                           .step_size = static_cast<float>(factors.step_size),
                           .root_scale = static_cast<float>(factors.root_scale),
                           .eps = static_cast<float>(args.eps)};
  const bool decays = args.weight_decay != 0;
  if (args.numbers.defined()) {
    check_tensor("adamw", "numbers", args.numbers, DType::kF32, {5}, exec);
    check_contiguous("adamw", "numbers", args.numbers);
    const auto* numbers = reinterpret_cast<const AdamwNumbers*>(args.numbers.raw());
    if constexpr (kHasCuda) {
      if (exec.device().is_cuda()) return cuda::adamw_with(numbers, decays, step_args, exec);
    }
    if (numbers->is_applied == 0) return;
    step_args.grad_scale = numbers->grad_scale;
    step_args.decay = decays ? numbers->decay : 1;
    step_args.step_size = numbers->step_size;
    step_args.root_scale = numbers->root_scale;
  }
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::adamw(step_args, exec);
  }
  cpu::adamw(step_args, exec);
}

void sum_of_squares(const Tensor& x, const Tensor& sum, Exec& exec) {
  check_float("sum_of_squares", "x", x, exec);
  MG_CHECK(x.dtype() == DType::kF32 || x.dtype() == DType::kBF16,
           "sum_of_squares: x has dtype {}; allowed: f32, bf16", name_of(x.dtype()));
  check_contiguous("sum_of_squares", "x", x);
  check_tensor("sum_of_squares", "sum", sum, DType::kF64, {1}, exec);
  if (x.numel() == 0) return fill(sum, 0, exec);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda())
      return cuda::sum_of_squares(x.dtype(), x.raw(), x.numel(), sum.data<double>(), exec);
  }
  *sum.data<double>() = cpu::sum_of_squares(x.dtype(), x.raw(), x.numel(), exec);
}

double sum_of_squares(const Tensor& x, Exec& exec) {
  const Tensor sum = exec.empty({1}, DType::kF64);
  sum_of_squares(x, sum, exec);
  return to_vector<double>(sum)[0];
}

}  // namespace megalith
