#pragma once
// defines: MG_NCCL_CHECK, nccl_check

#include <nccl.h>

#include "megalith/base/error.h"

namespace megalith {

/// Throws Error with the statement and what NCCL says.
inline void nccl_check(ncclResult_t code, const char* statement) {
  MG_CHECK(code == ncclSuccess, "{}: {} ({})", statement, ncclGetErrorString(code),
           ncclGetLastError(nullptr));
}

}  // namespace megalith

#define MG_NCCL_CHECK(statement) ::megalith::nccl_check((statement), #statement)
