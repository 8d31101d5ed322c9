#include <algorithm>

#include "megalith/base/log.h"
#include "megalith/base/progress.h"
#include "megalith/core/exec.h"
#include "megalith/kernels/cuda/gemm.h"
#include "megalith/kernels/cuda/vendor/gemm_search.h"
#include "megalith/kernels/cuda/vendor/gemm_table.h"

namespace megalith::cuda {
namespace {

double operations_of(const GemmKey& key) {
  return 2.0 * static_cast<double>(key.m) * static_cast<double>(key.n) * static_cast<double>(key.k);
}

// Largest first.
std::vector<GemmPlan*> plans_to_tune(const GemmPlans& all, const GemmTuning& tuning) {
  std::vector<GemmPlan*> plans;
  for (const auto& [key, plan] : all.plans) {
    if (key.is_aligned() && operations_of(key) >= static_cast<double>(tuning.min_operations))
      plans.push_back(plan.get());
  }
  std::stable_sort(plans.begin(), plans.end(), [](const GemmPlan* a, const GemmPlan* b) {
    return operations_of(a->key()) > operations_of(b->key());
  });
  return plans;
}

// Gives the plan its fastest algorithm where that is better than the present one, and adds it to the table.
void choose(const std::vector<GemmTrial>& trials, const GemmAlgorithm& present_algorithm, double min_gain,
            GemmPlan& plan, cublasLtHandle_t handle, GemmTable& table) {
  for (const GemmTrial& each : trials) {
    MG_ASSERT(plan.use(each.algorithm, handle));
    log_debug("  {:.3f} ms, quick {:.3f}: {}", each.limit_ms, each.quick_ms, plan.describe_algorithm());
  }
  const GemmTrial& first = trials.front();
  const GemmTrial& present = *std::find_if(trials.begin(), trials.end(), [&](const GemmTrial& each) {
    return each.algorithm == present_algorithm;
  });
  const GemmTrial& best =
      *std::min_element(trials.begin(), trials.end(),
                        [](const GemmTrial& a, const GemmTrial& b) { return a.limit_ms < b.limit_ms; });
  const GemmTrial& winner = best.limit_ms < (1 - min_gain) * present.limit_ms ? best : present;
  MG_ASSERT(plan.use(winner.algorithm, handle));
  const double tera = operations_of(plan.key()) * 1e-9;
  log_info("gemm {}: {:.3f} ms ({:.0f} TFLOP/s), was {:.3f} ms, cuBLASLt's first choice {:.3f} ms",
           plan.describe(), winner.limit_ms, tera / winner.limit_ms, present.limit_ms, first.limit_ms);
  if (winner.limit_ms < (1 - min_gain) * first.limit_ms) {
    table.add(
        plan.key(), winner.algorithm,
        fmt::format("{:.3f} ms, was {:.3f}; {}", winner.limit_ms, first.limit_ms, plan.describe_algorithm()));
  }
}

}  // namespace

std::string tune_gemm_plans(const GemmTuning& tuning, Exec& exec) {
  const std::vector<GemmPlan*> plans = plans_to_tune(exec.slots().get<GemmPlans>(), tuning);
  const cublasLtHandle_t handle = exec.slots().get<CublasLt>().handle();
  GemmTable table(cublasLtGetVersion(), exec.cuda().limits().name);
  GemmSearch search(tuning, exec);
  constexpr int64_t kPerMille = 1000;
  const auto count = static_cast<int64_t>(plans.size());
  Progress progress({.title = "tune", .total = count * kPerMille});
  for (int64_t i = 0; i < count; ++i) {
    GemmPlan& plan = *plans[static_cast<size_t>(i)];
    const GemmAlgorithm present = plan.algorithm();
    const std::string where = fmt::format("product {} of {}", i + 1, count);
    const std::vector<GemmTrial> trials = search.run(plan, [&](double share_done) {
      progress.update(i * kPerMille + static_cast<int64_t>(share_done * kPerMille), where);
    });
    progress.clear();
    if (trials.empty()) {
      MG_ASSERT(plan.use(present, handle));
    } else {
      choose(trials, present, tuning.min_gain, plan, handle, table);
    }
  }
  progress.finish();
  return table.text();
}

}  // namespace megalith::cuda
