#include "megalith/optim/loss_scaler.h"

#include <algorithm>

namespace megalith {

LossScaler::LossScaler(const OptimConfig& config, bool is_f16)
    : config_(config),
      kind_(config.loss_scale > 0 ? Kind::kFixed
            : is_f16              ? Kind::kDynamic
                                  : Kind::kNone),
      state_{.hysteresis_left = config.hysteresis} {
  if (kind_ == Kind::kFixed) state_.scale = config.loss_scale;
  if (kind_ == Kind::kDynamic) state_.scale = config.initial_loss_scale;
}

void LossScaler::update(bool overflowed) {
  if (kind_ != Kind::kDynamic) return;
  if (overflowed) {
    state_.good_steps = 0;
    state_.hysteresis_left = std::max<int64_t>(state_.hysteresis_left - 1, 0);
    if (state_.hysteresis_left == 0) state_.scale = std::max(state_.scale / 2, config_.min_loss_scale);
    return;
  }
  if (++state_.good_steps < config_.loss_scale_window) return;
  state_ = {.scale = state_.scale * 2, .good_steps = 0, .hysteresis_left = config_.hysteresis};
}

void LossScaler::restore(const State& state) {
  if (kind_ == Kind::kDynamic) state_ = state;
}

}  // namespace megalith
