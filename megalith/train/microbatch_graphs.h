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
/// call of the host. The kernels and their numbers are those of the eager run. For one rank, without dropout
/// and experts, whose calls differ from microbatch to microbatch; after some eager steps, so that pools and
/// plans have what a capture needs. Packed documents of new sizes run eagerly once for the same reason.
class MicrobatchGraphs {
 public:
  MicrobatchGraphs(LanguageModel& model, RecomputePolicy recompute, Exec& exec);
  ~MicrobatchGraphs();
  MicrobatchGraphs(const MicrobatchGraphs&) = delete;
  MicrobatchGraphs& operator=(const MicrobatchGraphs&) = delete;

  /// The loss, [1] f64; gradients are written or added as by an eager backward.
  Tensor run(const DeviceBatch& batch);

 private:
  /// What tells captures apart: the first gradients of a step are written, the others added; whether there
  /// are first keys; sequences; tokens; size of the table of documents; the longest.
  using Form = std::tuple<bool, bool, int64_t, int64_t, int64_t, int64_t>;
  struct Graph {
    DeviceBatch batch;  // the memory that the kernels read
    Tensor loss;
    std::vector<Parameter*> written;  // whose first gradient of the step it writes
    std::shared_ptr<CudaGraph> graph;
  };

  Graph capture(const DeviceBatch& batch);
  Tensor run_eagerly(const DeviceBatch& batch);

  LanguageModel* model_;
  RecomputePolicy recompute_;
  Exec* exec_;
  Tensor one_;  // the gradient of the loss
  std::map<Form, Graph> graphs_;
  std::set<Form> seen_;
};

}  // namespace megalith
