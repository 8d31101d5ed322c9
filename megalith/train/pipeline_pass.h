#pragma once
// defines: PassOptions, PipelinePass

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "megalith/autograd/offload.h"
#include "megalith/data/host_batch.h"
#include "megalith/models/language_model.h"
#include "megalith/parallel/mesh.h"
#include "megalith/parallel/pipeline/schedule.h"
#include "megalith/train/device_batch.h"
#include "megalith/train/microbatch_graphs.h"

namespace megalith {

struct PassOptions {
  RecomputePolicy recompute;
  RngKey rng;  ///< of the step; each microbatch draws from a stream of its own
  LossScaling scaling = LossScaling::kMean;
  MicrobatchGraphs* graphs = nullptr;  ///< or null: forwards run both and add to its loss, backwards nothing
  double loss_scale = 1;               ///< losses and gradients are times this (optim/loss_scaler.h)
  HostCopies* host_copies = nullptr;   ///< null: activations stay on the device
  OffloadOptions offload = {};         ///< with host_copies: of every chunk
};

/// Forward and backward of all microbatches of one step on one rank, as the pipeline's schedule says. Without
/// a pipeline the schedule is: forward and backward, one microbatch after another.
///
/// A pair of a forward and a backward (overlap_moe_expert_parallel_comm) runs on this one thread: wherever
/// tokens of the one have begun to travel, the other goes on until its tokens travel. Who waits when is the
/// schedule's and the model's alone, never the data's or the clock's: ranks that share layers run equal
/// actions on equal models, and so make their collective calls in one order on each group, as without pairs.
class PipelinePass {
 public:
  /// Fills the next microbatch; throws Error when the data ends.
  using NextBatch = std::function<void(HostBatch&)>;

  PipelinePass(LanguageModel& model, const Mesh& mesh, const Schedule& schedule, const PassOptions& options,
               const NextBatch& next_batch, Exec& exec);

  /// One action of schedule.ranks[pipeline rank], in its order.
  void run(const Action& action);
  /// Sum of this rank's losses; 0 on stages without the head, and where graphs have it. Waits for the device.
  double loss() const;
  /// Tokens whose loss counts, in the microbatches of this data-parallel rank.
  double num_tokens() const;

 private:
  using Key = std::pair<int, int>;  // microbatch, stage
  struct Flight {
    std::unique_ptr<Tape> tape;
    Var input, output;
    WgradQueue deferred;
  };

  DeviceBatch& batch_of(int microbatch);
  std::unique_ptr<Tape> make_tape(int chunk);
  void forward(int microbatch, int chunk);
  void backward(int microbatch, int chunk, bool defers_weights);
  Flight& begin_backward(int microbatch, int chunk, bool defers_weights);
  void end_backward(int microbatch, int chunk, bool defers_weights);
  void forward_beside_backward(const Action& forward_action, const Action& backward_action);
  int stage_of(int chunk) const { return schedule_->stage_of(mesh_->pp().rank(), chunk); }
  bool is_last(int stage) const { return stage + 1 == schedule_->num_stages(); }

  LanguageModel* model_;
  const Mesh* mesh_;
  const Schedule* schedule_;
  PassOptions options_;
  NextBatch next_batch_;
  Exec* exec_;
  HostBatch host_batch_;
  std::map<int, DeviceBatch> batches_;
  std::map<Key, Flight> flights_;
  std::map<Key, Tensor> activations_;  // the input of a stage, before its forward
  std::map<Key, Tensor> gradients_;    // of the output of a stage, before its backward
  std::vector<Tensor> losses_;         // [1] each, of the last stage
  std::optional<Action> paired_;       // the forward of a pair, until its backward comes
  Tape* beside_ = nullptr;             // whose backward goes on where the forward gives way
};

}  // namespace megalith
