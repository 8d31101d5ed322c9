#pragma once
// defines: LossScaler

#include <cstdint>

#include "megalith/optim/optim_config.h"

namespace megalith {

/// What the loss is multiplied by before the backward, so that small gradients do not vanish in f16;
/// gradients are divided by it before they are used. A fixed loss_scale, or Megatron's dynamic one
/// (megatron/core/optimizer/grad_scaler.py): `hysteresis` steps of Inf or NaN, and from then on each such
/// step, halve it, down to min_loss_scale; loss_scale_window steps without any in a row double it and give
/// the hysteresis back. Every rank has the same.
class LossScaler {
 public:
  enum class Kind { kNone, kFixed, kDynamic };
  /// Where a run stands; a checkpoint keeps it.
  struct State {
    double scale = 1;
    int64_t good_steps = 0;  ///< in a row, since the scale changed
    int64_t hysteresis_left = 0;
  };

  /// `is_f16`: dynamic unless loss_scale is given. Other dtypes need no scale, but take a fixed one.
  LossScaler(const OptimConfig& config, bool is_f16);

  Kind kind() const { return kind_; }
  double scale() const { return state_.scale; }
  /// After every step: whether its gradients had Inf or NaN.
  void update(bool overflowed);

  const State& state() const { return state_; }
  /// Of a checkpoint; a fixed scale stays what the recipe says.
  void restore(const State& state);

 private:
  OptimConfig config_;
  Kind kind_;
  State state_;
};

}  // namespace megalith
