#include "megalith/core/cuda/cuda_timeline.h"

#include <cuda_profiler_api.h>
#include <nvtx3/nvToolsExt.h>

#include "megalith/core/cuda/check.h"

namespace megalith {

CudaTimeline::~CudaTimeline() {
  for (const Mark& mark : marks_) cudaEventDestroy(mark.event);
  for (CUevent_st* event : free_) cudaEventDestroy(event);
}

void CudaTimeline::mark(int label) {
  CUevent_st* event = nullptr;
  if (free_.empty()) {
    MG_CUDA_CHECK(cudaEventCreate(&event));
  } else {
    event = free_.back();
    free_.pop_back();
  }
  marks_.push_back({event, label});
  MG_CUDA_CHECK(cudaEventRecord(event, context_.stream()));
}

void CudaTimeline::add_to(std::span<double> ms) {
  if (marks_.empty()) return;
  MG_CUDA_CHECK(cudaEventSynchronize(marks_.back().event));
  for (size_t i = 1; i < marks_.size(); ++i) {
    float stretch_ms = 0;
    MG_CUDA_CHECK(cudaEventElapsedTime(&stretch_ms, marks_[i - 1].event, marks_[i].event));
    ms[static_cast<size_t>(marks_[i].label)] += stretch_ms;
  }
  for (const Mark& mark : marks_) free_.push_back(mark.event);
  marks_.clear();
}

void start_cuda_profiler() {
  MG_CUDA_CHECK(cudaProfilerStart());
}

void stop_cuda_profiler() {
  MG_CUDA_CHECK(cudaProfilerStop());
}

void push_profile_range(const char* name) {
  nvtxRangePushA(name);
}

void pop_profile_range() {
  nvtxRangePop();
}

}  // namespace megalith
