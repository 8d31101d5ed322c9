#pragma once
// defines: GemmRehearsal

#include "megalith/core/exec.h"
#include "megalith/kernels/cuda/vendor/gemm_plan.h"

namespace megalith::cuda {

/// Times a plan's algorithms on random operands of its sizes.
class GemmRehearsal {
 public:
  GemmRehearsal(GemmPlan& plan, Exec& exec);
  ~GemmRehearsal();
  GemmRehearsal(const GemmRehearsal&) = delete;
  GemmRehearsal& operator=(const GemmRehearsal&) = delete;

  /// Gives the plan this algorithm and runs it once, untimed. False where the library refuses either.
  bool use(const GemmAlgorithm& algorithm);
  /// Milliseconds of one call of `count` in a row.
  double time(int count);
  /// Runs for `warm_ms` and then times `timed_ms`, in calls that take about `call_ms`: the clock has settled
  /// where this algorithm's power meets the limit.
  double time_at_limit(double call_ms, double warm_ms, double timed_ms);

 private:
  Tensor random(int64_t count, DType dtype);
  void run();

  GemmPlan& plan_;
  Exec& exec_;
  cublasLtHandle_t handle_;
  Tensor a_, b_, c_, bias_, workspace_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace megalith::cuda
