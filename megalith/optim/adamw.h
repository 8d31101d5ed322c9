#pragma once
// defines: AdamW

#include <functional>
#include <vector>

#include "megalith/autograd/parameter.h"
#include "megalith/ops/adamw.h"
#include "megalith/optim/optim_config.h"

namespace megalith {

/// AdamW over the flat buffers of a ParameterStore: f32 master weights (the weights themselves in an f32
/// model) and f32 moments. Weight decay skips parameters that do not decay. The store's gradients must be
/// allocated. Where ranks share the parameters, each keeps state for what it owns and updates no other
/// weights (ZeRO-1, Rajbhandari et al. 2020; Megatron's distributed optimizer). With optimizer_cpu_offload
/// the state of the first optimizer_offload_fraction of the elements lives in pinned host memory; the same
/// kernels work on it there, to the same bits.
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

  /// The same where the device decides (ops/update.h): what is asked of it is alike in every step. Whether
  /// the step counts is for the caller to say when he knows.
  void step_with(const Tensor& numbers, Exec& exec);
  /// Of the next step.
  AdamwFactors next_factors(double lr, double weight_decay) const;
  void count_step() { ++num_steps_; }

  int64_t num_steps() const { return num_steps_; }
  void set_num_steps(int64_t num_steps) { num_steps_ = num_steps; }

  /// A stretch of the state that belongs to one parameter.
  struct StatePiece {
    const char* kind = "";  ///< master, exp_avg or exp_avg_sq; no master in an f32 model
    const Parameter* parameter = nullptr;
    int64_t begin = 0;  ///< first element, in this rank's part of the parameter
    Tensor tensor;      // [length] f32
  };
  void visit_state(const std::function<void(const StatePiece&)>& visit) const;

 private:
  struct Part {
    ParameterStore::Owned owned;
    Tensor master, exp_avg, exp_avg_sq;  // [owned.range.size()] f32
  };

  /// Calls update() with the tensors of every stretch that decays alike; `decays` says whether.
  void for_each_stretch(const std::function<void(AdamwArgs args, bool decays)>& update) const;
  void add_part(const ParameterStore::Owned& owned, const Tensor& state);

  MemoryLedger host_ledger_;
  Pool host_pool_;
  ParameterStore* store_;
  OptimConfig config_;
  bool has_own_master_;
  std::vector<Part> parts_;
  int64_t num_steps_ = 0;
};

}  // namespace megalith
