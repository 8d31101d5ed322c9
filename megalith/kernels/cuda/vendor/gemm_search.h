#pragma once
// defines: GemmTrial, GemmSearch

#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "megalith/kernels/cuda/gemm.h"
#include "megalith/kernels/cuda/vendor/gemm_rehearsal.h"

namespace megalith::cuda {

/// An algorithm's milliseconds a call.
struct GemmTrial {
  GemmAlgorithm algorithm;
  double quick_ms = 0;  ///< of a few calls
  double limit_ms = 0;  ///< at the power limit
};

/// Looks for the fastest algorithm of one product after another. A wide search remembers tiles that are far
/// behind and leaves them out of later products of the same layout: largest products first.
class GemmSearch {
 public:
  using Report = std::function<void(double share_done)>;

  GemmSearch(const GemmTuning& tuning, Exec& exec) : tuning_(tuning), exec_(exec) {}
  /// Those that came to the long runs, cuBLASLt's first choice and then, where it is another, the plan's
  /// present algorithm in front. The plan is left with any of them. Empty where cuBLASLt's first choice
  /// cannot run.
  std::vector<GemmTrial> run(GemmPlan& plan, const Report& report);

 private:
  using Layout = std::tuple<DType, bool, bool>;
  void try_all_settings(GemmPlan& plan, GemmRehearsal& rehearsal, std::vector<GemmTrial>& trials,
                        const Report& report);

  const GemmTuning& tuning_;
  Exec& exec_;
  std::map<Layout, std::set<GemmTile>> slow_tiles_;
};

}  // namespace megalith::cuda
