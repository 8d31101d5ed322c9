#pragma once
// defines: MG_CUBLAS_CHECK, CublasLt

#include <cublasLt.h>

#include "megalith/base/error.h"

/// Throws Error with the statement, the place and what cuBLAS says.
#define MG_CUBLAS_CHECK(statement)                                                                         \
  do {                                                                                                     \
    if (const cublasStatus_t mg_status = (statement); mg_status != CUBLAS_STATUS_SUCCESS) [[unlikely]]     \
      ::megalith::fail("{} failed: {} at {}:{}", #statement, cublasLtGetStatusString(mg_status), __FILE__, \
                       __LINE__);                                                                          \
  } while (0)

namespace megalith::cuda {

/// The library's handle, one per Exec.
class CublasLt {
 public:
  CublasLt() { MG_CUBLAS_CHECK(cublasLtCreate(&handle_)); }
  ~CublasLt() { cublasLtDestroy(handle_); }
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  cublasLtHandle_t handle() const { return handle_; }

 private:
  cublasLtHandle_t handle_ = nullptr;
};

}  // namespace megalith::cuda
