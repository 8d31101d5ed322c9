#pragma once
// defines: AxisTraffic, LayoutEstimate, estimate_layout

#include <string>
#include <vector>

#include "megalith/plan/cluster.h"
#include "megalith/plan/rank_memory.h"
#include "megalith/plan/traffic.h"

namespace megalith {

/// What the groups of one axis move in a step.
struct AxisTraffic {
  std::string axis;  ///< "tp", "cp", "ep", "pp", "dp"
  Link link;
  double bytes = 0;    ///< over a GPU's link, in a step
  double seconds = 0;  ///< of a step
  double exposed = 0;  ///< of them, what computation does not hide
};

/// A layout run on paper.
struct LayoutEstimate {
  RunConfig config;  ///< with the layout
  MeshShape shape;
  int64_t num_microbatches = 0;
  std::vector<RankMemory> memory;  ///< by pipeline rank
  int fullest_rank = 0;            ///< pipeline rank
  double compute_seconds = 0;      ///< of the busiest rank, in a step
  double bubble_fraction = 0;      ///< of the pipeline's time
  double optimizer_seconds = 0;
  std::vector<AxisTraffic> traffic;
  double step_seconds = 0;
  double tokens_per_second_per_gpu = 0;
  double tflops_per_gpu = 0;  ///< of the products that are run
  bool fits = false;          ///< the fullest rank into a GPU's memory, less 4 % for the context and NCCL

  const RankMemory& fullest() const { return memory[static_cast<size_t>(fullest_rank)]; }
};

/// Step time: stages by stage_work(), collectives of tp, cp and ep in line with them, put through the
/// pipeline schedule; data-parallel traffic beside the backward where overlap_grad_reduce and
/// overlap_param_gather say so; AdamW by its bytes. Throws UsageError where recipe and layout do not fit
/// `world` ranks.
LayoutEstimate estimate_layout(const RunConfig& config, int world, const Cluster& cluster);

}  // namespace megalith
