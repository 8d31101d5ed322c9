#pragma once
// defines: OptimConfig

#include <cstdint>
#include <string>

#include "megalith/config/field.h"
#include "megalith/core/dtype.h"

namespace megalith {

/// Optimizer and schedules. Names and defaults are Megatron's.
struct OptimConfig {
  double lr = 0;
  double min_lr = 0;
  std::string lr_decay_style = "linear";
  int64_t lr_decay_iters = 0;  ///< 0: train_iters
  int64_t lr_warmup_iters = 0;
  double lr_warmup_fraction = 0;  ///< of the decay iterations; excludes lr_warmup_iters
  double lr_warmup_init = 0;
  std::string lr_wsd_decay_style = "exponential";
  int64_t lr_wsd_decay_iters = 0;

  double weight_decay = 0.01;
  double start_weight_decay = 0;  ///< read when weight_decay_incr_style is not constant
  double end_weight_decay = 0;
  std::string weight_decay_incr_style = "constant";

  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_eps = 1e-8;
  double clip_grad = 1.0;  ///< 0: gradients are not clipped

  std::string main_grads_dtype = "fp32";
  bool optimizer_cpu_offload = false;
  double optimizer_offload_fraction = 1;

  double loss_scale = 0;  ///< fixed; 0: dynamic in an fp16 model, else none
  double initial_loss_scale = 4294967296;
  double min_loss_scale = 1;
  int64_t loss_scale_window = 1000;
  int64_t hysteresis = 2;

  /// Of the gradients that the optimizer reads, and that microbatches and ranks add to.
  DType gradient_dtype() const { return main_grads_dtype == "bf16" ? DType::kBF16 : DType::kF32; }
};

void declare_fields(OptimConfig& config, FieldList& fields);
void validate(const OptimConfig& config);

}  // namespace megalith
