#include "megalith/optim/param_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "megalith/base/error.h"

namespace megalith {
namespace {

double cosine_fall(double ratio) {
  return 0.5 * (std::cos(std::numbers::pi * ratio) + 1);
}

}  // namespace

ParamSchedule::ParamSchedule(const OptimConfig& config, const Length& length)
    : config_(config),
      train_samples_(length.train_samples),
      decay_samples_(config.lr_decay_iters > 0 ? config.lr_decay_iters * length.samples_per_iteration
                                               : length.train_samples),
      wsd_samples_(config.lr_wsd_decay_iters * length.samples_per_iteration) {
  warmup_samples_ =
      config.lr_warmup_fraction > 0
          ? static_cast<int64_t>(config.lr_warmup_fraction * static_cast<double>(decay_samples_))
          : config.lr_warmup_iters * length.samples_per_iteration;
  if (warmup_samples_ >= decay_samples_) {
    throw UsageError(fmt::format(
        "lr_warmup_{} is too long: the warm-up of {} samples must be shorter than the decay of {} "
        "(lr_decay_iters, or train_iters when that is 0)",
        config.lr_warmup_fraction > 0 ? "fraction" : "iters", warmup_samples_, decay_samples_));
  }
  if (wsd_samples_ > decay_samples_) {
    throw UsageError(fmt::format("lr_wsd_decay_iters ({} samples) must not pass lr_decay_iters ({} samples)",
                                 wsd_samples_, decay_samples_));
  }
}

double ParamSchedule::lr(int64_t samples) const {
  const auto n = static_cast<double>(samples), warmup = static_cast<double>(warmup_samples_);
  if (warmup_samples_ > 0 && samples <= warmup_samples_) {
    return config_.lr_warmup_init + (config_.lr - config_.lr_warmup_init) * n / warmup;
  }
  if (config_.lr_decay_style == "constant") return config_.lr;
  if (samples > decay_samples_) return config_.min_lr;
  if (config_.lr_decay_style == "inverse-square-root") {
    return std::max(config_.min_lr,
                    config_.lr * std::sqrt(std::max(warmup, 1.0)) / std::sqrt(std::max(n, 1.0)));
  }
  return config_.min_lr + decay_coefficient(samples) * (config_.lr - config_.min_lr);
}

double ParamSchedule::decay_coefficient(int64_t samples) const {
  const double ratio =
      static_cast<double>(samples - warmup_samples_) / static_cast<double>(decay_samples_ - warmup_samples_);
  if (config_.lr_decay_style == "linear") return 1 - ratio;
  if (config_.lr_decay_style == "cosine") return cosine_fall(ratio);
  MG_ASSERT(config_.lr_decay_style == "WSD");
  const int64_t stable_samples = decay_samples_ - wsd_samples_;
  if (samples <= stable_samples) return 1;
  const double q = static_cast<double>(samples - stable_samples) / static_cast<double>(wsd_samples_);
  if (config_.lr_wsd_decay_style == "linear") return 1 - q;
  if (config_.lr_wsd_decay_style == "cosine") return cosine_fall(q);
  if (config_.lr_wsd_decay_style == "exponential") return 2 * std::pow(0.5, q) - 1;
  MG_ASSERT(config_.lr_wsd_decay_style == "minus_sqrt");
  return 1 - std::sqrt(q);
}

double ParamSchedule::weight_decay(int64_t samples) const {
  if (config_.weight_decay_incr_style == "constant") return config_.weight_decay;
  if (samples > train_samples_) return config_.end_weight_decay;
  const double ratio = static_cast<double>(samples) / static_cast<double>(train_samples_);
  const double rise = config_.weight_decay_incr_style == "linear" ? ratio : cosine_fall(1 - ratio);
  return config_.start_weight_decay + rise * (config_.end_weight_decay - config_.start_weight_decay);
}

}  // namespace megalith
