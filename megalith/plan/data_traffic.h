#pragma once
// defines: DataTraffic, data_traffic

#include "megalith/plan/traffic.h"
#include "megalith/train/train_config.h"

namespace megalith {

/// What the ranks with the same weights move in a step.
struct DataTraffic {
  double bytes = 0;  ///< over a GPU's link
  double gradient_seconds = 0;
  double weight_seconds = 0;
};

/// `elements`: a rank's parameters that the group shares; `num_microbatches`: of a step. Gradients in
/// main_grads_dtype (or grad_reduce_in_bf16) once a step, with sharded gradients once a microbatch; weights
/// are gathered once a step under ZeRO-1 and 2, for each forward and backward under ZeRO-3.
DataTraffic data_traffic(const RunConfig& config, double elements, double num_microbatches, const Link& link);

}  // namespace megalith
