#pragma once
// defines: CudaTimeline, start_cuda_profiler, stop_cuda_profiler, push_profile_range, pop_profile_range

#include <span>
#include <vector>

#include "megalith/core/cuda/cuda_context.h"

namespace megalith {

/// Milliseconds of stretches of a stream's work, by events between them.
class CudaTimeline {
 public:
  explicit CudaTimeline(CudaContext& context) : context_(context) {}
  ~CudaTimeline();
  CudaTimeline(const CudaTimeline&) = delete;
  CudaTimeline& operator=(const CudaTimeline&) = delete;

  /// What was asked of the stream since the last mark belongs to `label`; the first mark begins.
  void mark(int label);
  /// Waits for the last mark, adds each stretch to ms[label] and forgets all marks.
  void add_to(std::span<double> ms);

 private:
  struct Mark {
    CUevent_st* event;
    int label;
  };
  CudaContext& context_;
  std::vector<Mark> marks_;
  std::vector<CUevent_st*> free_;
};

/// Of profilers that record between these calls alone (nsys --capture-range=cudaProfilerApi).
void start_cuda_profiler();
void stop_cuda_profiler();
/// A named stretch of this thread's work, as profilers show it (NVTX).
void push_profile_range(const char* name);
void pop_profile_range();

}  // namespace megalith
