#include "megalith/core/cuda/cuda_copy_stream.h"

#include "megalith/core/cuda/check.h"

namespace megalith {

CudaCopyStream::CudaCopyStream(CudaContext& context) : context_(context) {
  MG_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  MG_CUDA_CHECK(cudaEventCreateWithFlags(&reached_, cudaEventDisableTiming));
}

CudaCopyStream::~CudaCopyStream() {
  // Nothing may be thrown here, and nothing can be done about a failure.
  cudaStreamSynchronize(stream_);
  for (CUevent_st* mark : marks_) cudaEventDestroy(mark);
  cudaEventDestroy(reached_);
  cudaStreamDestroy(stream_);
}

void CudaCopyStream::follow() {
  MG_CUDA_CHECK(cudaEventRecord(reached_, context_.stream()));
  MG_CUDA_CHECK(cudaStreamWaitEvent(stream_, reached_));
}

void CudaCopyStream::copy(void* to, const void* from, int64_t bytes) {
  MG_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_));
}

CUevent_st* CudaCopyStream::mark() {
  if (free_marks_.empty()) {
    CUevent_st* mark = nullptr;
    MG_CUDA_CHECK(cudaEventCreateWithFlags(&mark, cudaEventDisableTiming));
    marks_.push_back(mark);
    free_marks_.push_back(mark);
  }
  CUevent_st* mark = free_marks_.back();
  free_marks_.pop_back();
  MG_CUDA_CHECK(cudaEventRecord(mark, stream_));
  return mark;
}

void CudaCopyStream::hold_back(CUevent_st* mark) {
  MG_CUDA_CHECK(cudaStreamWaitEvent(context_.stream(), mark));
  free_marks_.push_back(mark);  // who records it again does so behind this wait
}

}  // namespace megalith
