#pragma once
// defines: CopyArgs, copy, fold_dims, fill

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

constexpr int kMaxCopyRank = 6;

/// Extents, outermost first, with the strides of both sides in elements. copy() and fill() fold the
/// dimensions before they call a kernel: afterwards the rank is at least 1.
struct CopyArgs {
  DType from_dtype = DType::kF32, to_dtype = DType::kF32;
  const void* from = nullptr;
  void* to = nullptr;
  int rank = 0;
  int64_t dims[kMaxCopyRank] = {};
  int64_t from_strides[kMaxCopyRank] = {};
  int64_t to_strides[kMaxCopyRank] = {};
  int num_threads = 1;  // set by copy()
};
void copy(CopyArgs args, Exec& exec);

/// Drops extents of 1 and joins neighbours that both sides walk through in one stride; the rank becomes at
/// least 1.
void fold_dims(CopyArgs& args);

/// Every element of `to` becomes the element at `from`, which has the same dtype: a copy with strides of 0.
void fill(CopyArgs args, Exec& exec);

MG_DECLARE_PER_ISA(void copy(const CopyArgs& args))

}  // namespace megalith::cpu
