#include "megalith/core/cuda/cuda_mark.h"

#include "megalith/core/cuda/check.h"

namespace megalith {

CudaMark::CudaMark(CudaContext& context) : context_(context) {
  MG_CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming));
}

CudaMark::~CudaMark() {
  cudaEventDestroy(event_);
}

void CudaMark::set() {
  MG_CUDA_CHECK(cudaEventRecord(event_, context_.stream()));
}

void CudaMark::wait() const {
  MG_CUDA_CHECK(cudaEventSynchronize(event_));
}

}  // namespace megalith
