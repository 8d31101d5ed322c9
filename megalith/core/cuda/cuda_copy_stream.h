#pragma once
// defines: CudaCopyStream

#include <cstdint>
#include <vector>

#include "megalith/core/cuda/cuda_context.h"

namespace megalith {

/// Copies between a GPU's memory and pinned host memory, one after another, by a copy engine beside the GPU's
/// other work. The host waits for nothing here.
class CudaCopyStream {
 public:
  explicit CudaCopyStream(CudaContext& context);
  ~CudaCopyStream();
  CudaCopyStream(const CudaCopyStream&) = delete;
  CudaCopyStream& operator=(const CudaCopyStream&) = delete;

  /// What is asked for next begins behind all that is on the context's stream now.
  void follow();
  void copy(void* to, const void* from, int64_t bytes);
  /// A place behind the copies that were asked for, for one hold_back().
  CUevent_st* mark();
  /// What is asked of the context's stream from now on begins when the mark is reached.
  void hold_back(CUevent_st* mark);

 private:
  CudaContext& context_;
  CUstream_st* stream_ = nullptr;
  CUevent_st* reached_ = nullptr;  // on the context's stream
  std::vector<CUevent_st*> marks_, free_marks_;
};

}  // namespace megalith
