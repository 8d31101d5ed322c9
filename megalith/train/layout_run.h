#pragma once
// defines: LayoutRun, LayoutRunner, LayoutDeviation, layout_tolerance, compare_layouts

#include <map>
#include <string>
#include <vector>

#include "megalith/comm/communicator.h"
#include "megalith/data/batch_loader.h"
#include "megalith/data/build_datasets.h"
#include "megalith/train/train_config.h"

namespace megalith {

/// What some steps of a recipe came to on one layout of ranks.
struct LayoutRun {
  std::vector<double> losses, grad_norms, dropped_choices;  ///< by step
  /// Of the first step, before clipping, by parameter, each put together from its shards
  /// (gather_gradients.h).
  std::map<std::string, std::vector<float>> first_gradients;
};

/// Trains some steps of one recipe on layouts of ranks, always from the same weights on the same data.
class LayoutRunner {
 public:
  struct Options {
    int num_steps = 3;
    int num_threads = 1;                   ///< of each rank
    DeviceKind device = DeviceKind::kCpu;  ///< of rank threads; with kCuda rank r has GPU r
  };
  LayoutRunner(const RunConfig& config, const Vocabulary& vocabulary, const Options& options);

  /// In rank threads, with a GPU each if asked for. Throws UsageError where the layout does not fit the ranks
  /// or the recipe, Error where it fails.
  LayoutRun run(const ParallelConfig& parallel, int num_ranks) const;
  /// Collective: in the ranks of `host`, which may be of several processes, as one of them on its device.
  /// Rank 0 has the result, the others nothing. Throws as above; UsageError in all ranks before they meet.
  LayoutRun run_rank(const ParallelConfig& parallel, Communicator& host, Device device) const;

 private:
  RunConfig config_;
  Options options_;
  MaskOptions masks_;
  Datasets datasets_;
};

/// The place at which two runs are the furthest apart, measured by what is allowed there.
struct LayoutDeviation {
  double worst = 0;    ///< relative: to the loss, the norm, or the largest element of a gradient
  double allowed = 0;  ///< at that place
  std::string where;   ///< "loss of step 2", "gradient of decoder.layers.0.mlp.linear_fc1.weight"
  double share() const { return worst / allowed; }
  bool is_ok() const { return worst <= allowed; }  ///< false for NaN
};

/// Relative deviation that the order of sums explains. A sum of n f32 terms in another order moves by about
/// eps sqrt(n) of its size, and what stands behind d such sums by eps sqrt(n d): n is the longest sum (tokens
/// of a step, width of a matrix), d counts some 24 matrix products, norms and softmaxes of a layer's forward
/// and backward.
double layout_tolerance(const RunConfig& config);

/// Losses and norms of all steps, and every gradient. `tolerance` holds for losses and gradients; norms have
/// five times as much: AdamW divides by the root of the second moment, so that the relative error of the
/// smallest gradients becomes a share of the learning rate.
LayoutDeviation compare_layouts(const LayoutRun& expected, const LayoutRun& actual, double tolerance);

}  // namespace megalith
