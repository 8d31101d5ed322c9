#pragma once
// defines: DataParallel

#include <array>
#include <vector>

#include "megalith/parallel/data/unit_gradients.h"
#include "megalith/parallel/data/unit_weights.h"

namespace megalith {

/// Data parallelism of one rank's model: sums of gradients, and what of weights, gradients and optimizer
/// state its ranks share (DataSharding). Works unit by unit from the hooks of the forward and the backward,
/// so that what is on its way travels beside compute; model code knows nothing of it.
///
/// Sums: tensor-parallel terms first, then those of tied embeddings, then the data-parallel sum (where
/// gradients are sharded, last to first, on the shares alone). Means are in the loss weights, not here.
class DataParallel : public UnitHooks {
 public:
  /// `store` was materialized with data_sharing(mesh). Collective.
  DataParallel(ParameterStore& store, const Mesh& mesh);
  ~DataParallel() override;

  void begin_step(int64_t num_microbatches);
  /// After the last backward: the owned parts of the gradients are those of the whole step.
  void finish_gradients(Exec& exec);
  /// After the optimizer's step. What peers have updated comes at the next use of its unit: until then, and
  /// outside of uses, only the owned parts are the new weights.
  void weights_changed(Exec& exec);

  void before_forward(const UnitUse& use, Exec& exec) override;
  void after_forward(const UnitUse& use, Exec& exec) override;
  void before_backward(const UnitUse& use, Exec& exec) override;
  void after_backward(const UnitUse& use, Exec& exec) override;
  void before_gradients(const UnitUse& use, Exec& exec) override;
  void gradients_done(const UnitUse& use, Exec& exec) override;

 private:
  struct Progress {
    int64_t num_done = 0;   // uses whose gradients are written, over all microbatches
    int num_open = 0;       // uses whose gradients are being written
    int num_computing = 0;  // forwards and backwards that read the weights now
    bool is_reduced = false;
  };
  void need(const UnitUse& use, int next, Exec& exec);
  /// The forward of one microbatch and the backward of another may read a unit at the same time: the last of
  /// them releases it.
  void begin_computing(const UnitUse& use);
  enum class Weights { kRelease, kKeep };
  void end_computing(const UnitUse& use, Weights weights);
  void reduce_last(const ParameterUnit& unit, Exec& exec);
  /// Sums in which other pipeline stages take part wait for the end of the step: a stage that is done early
  /// would keep the others from getting there. Sharded gradients meet those stages as shares, at the end.
  bool may_reduce_early(const ParameterUnit& unit) const;

  ParameterStore* store_;
  const ParallelConfig* config_;
  std::array<ShareGroups, 2> groups_;
  UnitWeights weights_;
  UnitGradients gradients_;
  int64_t num_microbatches_ = 0;
  std::vector<Progress> progress_;  // by unit
};

}  // namespace megalith
