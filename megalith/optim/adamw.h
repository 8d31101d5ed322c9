#pragma once
// defines: AdamW

#include <functional>
#include <string>

#include "megalith/autograd/parameter.h"
#include "megalith/optim/optim_config.h"

namespace megalith {

/// AdamW over the flat buffers of a ParameterStore: f32 master weights (the weights themselves in an f32
/// model) and f32 moments. Weight decay skips parameters that do not decay. The store's gradients must be
/// allocated.
class AdamW {
 public:
  AdamW(ParameterStore& store, const OptimConfig& config, Exec& exec);

  /// Takes the weights as they are now for master weights: after initialization or an import without
  /// optimizer state.
  void copy_master_from_model(Exec& exec);

  struct Step {
    double lr = 0;
    double weight_decay = 0;
    double grad_scale = 1;  ///< the clipping coefficient
  };
  void step(const Step& step, Exec& exec);

  int64_t num_steps() const { return num_steps_; }
  void set_num_steps(int64_t num_steps) { num_steps_ = num_steps; }

  /// Every tensor of the state under "KIND.PARAMETER" with KIND master, exp_avg or exp_avg_sq; no master in
  /// an f32 model.
  void visit_state(const std::function<void(const std::string& name, const Tensor& tensor)>& visit) const;

 private:
  ParameterStore* store_;
  OptimConfig config_;
  bool has_own_master_;
  Tensor master_;      // [num_flat_elements] f32
  Tensor exp_avg_;     // likewise
  Tensor exp_avg_sq_;  // likewise
  int64_t num_steps_ = 0;
};

}  // namespace megalith
