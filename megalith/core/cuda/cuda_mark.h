#pragma once
// defines: CudaMark

#include "megalith/core/cuda/cuda_context.h"

namespace megalith {

/// A place in a stream's work that the host can wait for, while what was asked for behind it goes on.
class CudaMark {
 public:
  explicit CudaMark(CudaContext& context);
  ~CudaMark();
  CudaMark(const CudaMark&) = delete;
  CudaMark& operator=(const CudaMark&) = delete;

  /// Behind all that is on the context's stream now.
  void set();
  void wait() const;

 private:
  CudaContext& context_;
  CUevent_st* event_ = nullptr;
};

}  // namespace megalith
