#pragma once
// defines: ParamSchedule

#include <cstdint>

#include "megalith/optim/optim_config.h"

namespace megalith {

/// Learning rate and weight decay as functions of the samples that successful steps have consumed, by
/// Megatron's rules (megatron/core/optimizer_param_scheduler.py). With n samples, W of warm-up and D of
/// decay:
///   W > 0 and n <= W: init + (max - init) n / W;  constant: max;  n > D: min
///   inverse-square-root: max(min, max sqrt(max(W, 1)) / sqrt(max(n, 1)))
///   else min + c (max - min) with r = (n - W) / (D - W): linear 1 - r, cosine (cos(pi r) + 1) / 2, and for
///   WSD with a last part of D_w samples, q = (n - (D - D_w)) / D_w: 1 before it, then linear 1 - q, cosine
///   (cos(pi q) + 1) / 2, exponential 2 * 0.5^q - 1, minus_sqrt 1 - sqrt(q).
class ParamSchedule {
 public:
  struct Length {
    int64_t train_samples = 0;
    int64_t samples_per_iteration =
        0;  ///< global batch size: options given in iterations are multiplied by it
  };
  /// Throws UsageError when the warm-up is as long as the decay.
  ParamSchedule(const OptimConfig& config, const Length& length);

  double lr(int64_t samples) const;
  double weight_decay(int64_t samples) const;

 private:
  double decay_coefficient(int64_t samples) const;

  OptimConfig config_;
  int64_t train_samples_;
  int64_t warmup_samples_;
  int64_t decay_samples_;
  int64_t wsd_samples_;
};

}  // namespace megalith
