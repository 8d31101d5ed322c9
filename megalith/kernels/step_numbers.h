#pragma once
// defines: AdamwFactors, AdamwNumbers, UpdateFactors, UpdateResults

namespace megalith {

// What of an optimizer step is the same for all elements, in memory that the device reads and writes: tensors
// hold these structs as their rows of numbers.

/// What follows from the schedule.
struct AdamwFactors {
  double decay = 1;       ///< 1 - lr * weight_decay
  double step_size = 0;   ///< lr / (1 - beta1^step)
  double root_scale = 1;  ///< 1 / sqrt(1 - beta2^step)
};

/// A tensor [5] f32.
struct AdamwNumbers {
  float grad_scale = 1;
  float decay = 1, step_size = 0, root_scale = 1;
  float is_applied = 0;  ///< 0: everything stays as it is
};

/// What the host knows of a step before its gradients are there; a tensor [4] f64.
struct UpdateFactors {
  double to_mean = 1;  ///< makes loss and gradients those of the mean loss
  AdamwFactors adamw;
};

/// What it learns of the step; a tensor [3] f64.
struct UpdateResults {
  double loss = 0, norm = 0;  ///< as they came, not times to_mean
  double is_applied = 0;
};

}  // namespace megalith
