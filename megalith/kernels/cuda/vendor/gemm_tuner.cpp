#include <algorithm>

#include "megalith/base/log.h"
#include "megalith/core/cuda/check.h"
#include "megalith/core/exec.h"
#include "megalith/kernels/cuda/gemm.h"
#include "megalith/kernels/cuda/random.h"
#include "megalith/kernels/cuda/vendor/gemm_plan.h"

namespace megalith::cuda {
namespace {

class Stopwatch {
 public:
  explicit Stopwatch(cudaStream_t stream) : stream_(stream) {
    MG_CUDA_CHECK(cudaEventCreate(&begin_));
    MG_CUDA_CHECK(cudaEventCreate(&end_));
  }
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  /// Milliseconds of one call of `count` in a row.
  template <class Work>
  double time(int count, const Work& work) {
    MG_CUDA_CHECK(cudaEventRecord(begin_, stream_));
    for (int i = 0; i < count; ++i) work();
    MG_CUDA_CHECK(cudaEventRecord(end_, stream_));
    MG_CUDA_CHECK(cudaEventSynchronize(end_));
    float ms = 0;
    MG_CUDA_CHECK(cudaEventElapsedTime(&ms, begin_, end_));
    return static_cast<double>(ms) / count;
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

// Random operands of a plan's sizes, and its call on them.
class Rehearsal {
 public:
  Rehearsal(GemmPlan& plan, Exec& exec) : plan_(plan), exec_(exec) {
    const GemmKey& key = plan.key();
    a_ = random((key.transpose_a ? key.k : key.m) * key.a_stride, key.dtype);
    b_ = random((key.transpose_b ? key.n : key.k) * key.b_stride, key.dtype);
    c_ = random(key.m * key.c_stride, key.out_dtype);
    bias_ = random(key.n, key.out_dtype);
    workspace_ = exec.empty({kGemmWorkspaceBytes}, DType::kU8);
  }

  void run(cublasLtHandle_t handle) const {
    plan_.run({.a = a_.raw(),
               .b = b_.raw(),
               .c = c_.raw(),
               .bias = bias_.raw(),
               .beta = plan_.key().reads_c ? 1.0 : 0.0,
               .workspace = workspace_.raw(),
               .stream = exec_.cuda().stream()},
              handle);
  }

 private:
  Tensor random(int64_t count, DType dtype) {
    const Tensor x = exec_.empty({count}, dtype);
    cuda::fill_normal({.dtype = dtype, .x = x.raw(), .count = count, .std = 0.02, .rng = exec_.rng()}, exec_);
    return x;
  }

  GemmPlan& plan_;
  Exec& exec_;
  Tensor a_, b_, c_, bias_, workspace_;
};

struct Timed {
  GemmAlgorithm algorithm;
  double quick_ms = 0;
  double sustained_ms = 0;
};

// Runs the plan for a while and times the second half: the clock has then settled where this algorithm's
// power meets the limit.
double sustained(double call_ms, const Rehearsal& rehearsal, Stopwatch& watch, cublasLtHandle_t handle) {
  constexpr double kHalfMs = 200;
  const int calls = std::max(1, static_cast<int>(kHalfMs / call_ms));
  const auto run = [&] { rehearsal.run(handle); };
  watch.time(calls, run);
  return watch.time(calls, run);
}

// cuBLASLt's first choice, then the candidates that are quick in a short run, timed in long ones.
std::vector<Timed> time_candidates(const GemmTuning& tuning, GemmPlan& plan, Exec& exec) {
  constexpr size_t kKept = 5;
  constexpr int kQuickCalls = 3, kRounds = 2;
  const cublasLtHandle_t handle = exec.slots().get<CublasLt>().handle();
  const Rehearsal rehearsal(plan, exec);
  Stopwatch watch(exec.cuda().stream());
  std::vector<Timed> all;
  for (const GemmAlgorithm& algorithm : plan.candidates(tuning.num_candidates, handle)) {
    if (!plan.use(algorithm, handle)) continue;
    rehearsal.run(handle);
    all.push_back({algorithm, watch.time(kQuickCalls, [&] { rehearsal.run(handle); })});
  }
  if (all.size() > kKept) {
    std::partial_sort(all.begin() + 1, all.begin() + kKept, all.end(),
                      [](const Timed& a, const Timed& b) { return a.quick_ms < b.quick_ms; });
    all.resize(kKept);
  }
  for (int round = 0; round < kRounds; ++round) {
    for (Timed& each : all) {
      MG_ASSERT(plan.use(each.algorithm, handle));
      each.sustained_ms += sustained(each.quick_ms, rehearsal, watch, handle) / kRounds;
    }
  }
  return all;
}

}  // namespace

std::string tune_gemm_plans(const GemmTuning& tuning, Exec& exec) {
  GemmPlans& all = exec.slots().get<GemmPlans>();
  const cublasLtHandle_t handle = exec.slots().get<CublasLt>().handle();
  GemmTable table(cublasLtGetVersion(), exec.cuda().limits().name);
  for (const auto& [key, plan] : all.plans) {
    const double operations =
        2.0 * static_cast<double>(key.m) * static_cast<double>(key.n) * static_cast<double>(key.k);
    if (!key.is_aligned() || operations < static_cast<double>(tuning.min_operations)) continue;
    const std::vector<Timed> timed = time_candidates(tuning, *plan, exec);
    if (timed.empty()) continue;
    const Timed& first = timed.front();
    const Timed& best = *std::min_element(timed.begin(), timed.end(), [](const Timed& a, const Timed& b) {
      return a.sustained_ms < b.sustained_ms;
    });
    const bool is_better = best.sustained_ms < (1 - tuning.min_gain) * first.sustained_ms;
    const double tera = operations * 1e-9;
    for (const Timed& each : timed) {
      MG_ASSERT(plan->use(each.algorithm, handle));
      log_debug("  {:.3f} ms, quick {:.3f}: {}", each.sustained_ms, each.quick_ms,
                plan->describe_algorithm());
    }
    MG_ASSERT(plan->use(is_better ? best.algorithm : first.algorithm, handle));
    log_info("gemm {}: {:.3f} ms ({:.0f} TFLOP/s), was {:.3f} ms ({:.0f})", plan->describe(),
             best.sustained_ms, tera / best.sustained_ms, first.sustained_ms, tera / first.sustained_ms);
    if (is_better) {
      table.add(key, best.algorithm,
                fmt::format("{:.3f} ms, was {:.3f}; {}", best.sustained_ms, first.sustained_ms,
                            plan->describe_algorithm()));
    }
  }
  return table.text();
}

}  // namespace megalith::cuda
