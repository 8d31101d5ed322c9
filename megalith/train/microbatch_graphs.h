#pragma once
// defines: MicrobatchGraphs

#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "megalith/train/device_batch.h"

namespace megalith {

class CudaGraph;

/// Forward and backward of a whole model on one microbatch as CUDA graphs: captured once, replayed with one
/// call of the host. The kernels and their numbers are those of the eager run. For one rank and for models
/// that ask for the same calls in every microbatch: no dropout, no expert whose number of rows the host has
/// to know (check_layout() in train_config.h says which). After some eager steps, so that pools and plans
/// have what a capture needs. Packed documents of new sizes run eagerly once for the same reason.
class MicrobatchGraphs {
 public:
  MicrobatchGraphs(LanguageModel& model, RecomputePolicy recompute, Exec& exec);
  ~MicrobatchGraphs();
  MicrobatchGraphs(const MicrobatchGraphs&) = delete;
  MicrobatchGraphs& operator=(const MicrobatchGraphs&) = delete;

  /// Adds its loss to loss(); gradients are written or added as by an eager backward.
  void run(const DeviceBatch& batch);
  /// [1] f64: sum over the microbatches since it was last cleared.
  const Tensor& loss() const { return loss_; }

 private:
  /// What tells captures apart: the first gradients of a step are written, the others added; whether there
  /// are first keys; sequences; tokens; size of the table of documents; the longest.
  using Form = std::tuple<bool, bool, int64_t, int64_t, int64_t, int64_t>;
  struct Graph {
    DeviceBatch batch;                // the memory that the kernels read
    std::vector<Parameter*> written;  // whose first gradient of the step it writes
    std::shared_ptr<CudaGraph> graph;
  };

  Graph capture(const DeviceBatch& batch);
  void run_eagerly(const DeviceBatch& batch);

  LanguageModel* model_;
  RecomputePolicy recompute_;
  Exec* exec_;
  Tensor one_;  // the gradient of the loss
  Tensor loss_;
  std::map<Form, Graph> graphs_;
  std::set<Form> seen_;
};

}  // namespace megalith
