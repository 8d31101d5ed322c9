#pragma once
// defines: VerifyOptions, LayoutVerdict, LayoutVerifier

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "megalith/train/layout_run.h"

namespace megalith {

struct VerifyOptions {
  int num_ranks = 8;
  int num_steps = 3;
  int64_t max_layouts = 0;               ///< the first ones; 0: all
  int num_threads = 1;                   ///< of each rank
  DeviceKind device = DeviceKind::kCpu;  ///< of rank threads
};

/// What became of one layout.
struct LayoutVerdict {
  std::string name;
  std::optional<LayoutDeviation> deviation;  ///< from one rank
  std::string reason;                        ///< why there is none
  bool has_failed = false;
};

/// Trains a few steps of a recipe on one rank and on layouts of all of them (layout_choices.h; with packed
/// documents also hybrid_context_parallel), and compares losses and gradients. Whatever the recipe says: f32,
/// so that rounding hides nothing; no dropout, whose masks differ between layouts; microbatches of one
/// sequence, two of them for each rank; a constant learning rate; made-up tokens where it names no data.
class LayoutVerifier {
 public:
  /// Gets each verdict as it comes, with how many there will be.
  using Report = std::function<void(const LayoutVerdict&, int64_t of)>;

  LayoutVerifier(const RunConfig& recipe, const Vocabulary& vocabulary, const VerifyOptions& options);

  /// Each layout in rank threads of its own, so that one that fails does not hinder the next. A layout that
  /// the recipe does not allow has a reason and has not failed.
  void run(const Report& report) const;
  /// Collective over num_ranks ranks that are there already, of one process or several, each with its device
  /// and all with verifiers of the same arguments; the ranks of a process may share one. Rank 0 reports. Who
  /// fails ends all: throws Error with the layout's name.
  void run(Communicator& host, Device device, const Report& report) const;

 private:
  using RunLayout = std::function<LayoutRun(const ParallelConfig&)>;
  LayoutVerdict verdict_of(const ParallelConfig& layout, const LayoutRun& expected,
                           const RunLayout& run) const;

  VerifyOptions options_;
  RunConfig config_;
  std::vector<ParallelConfig> layouts_;
  LayoutRunner runner_;
};

}  // namespace megalith
