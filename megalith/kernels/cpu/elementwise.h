#pragma once
// defines: AddArgs, add, SumTermsArgs, sum_terms, ScaleArgs, scale

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// out = a + b over [rows, cols]; strides in elements. Contiguous tensors come as one row.
struct AddArgs {
  DType dtype = DType::kF32;
  const void* a = nullptr;
  const void* b = nullptr;
  void* out = nullptr;
  int64_t rows = 0, cols = 0;
  int64_t a_stride = 0, b_stride = 0, out_stride = 0;
  int num_threads = 1;  // set by add()
};
void add(AddArgs args, Exec& exec);

/// out[i] = terms[0, i] + terms[1, i] + ..., i < count: in f32 (f64 for f64), rounded once.
struct SumTermsArgs {
  DType dtype = DType::kF32;
  const void* terms = nullptr;
  void* out = nullptr;
  int64_t num_terms = 0, count = 0;
  int num_threads = 1;  // set by sum_terms()
};
void sum_terms(SumTermsArgs args, Exec& exec);

/// out[r, c] = x[r, c] * factor, times factors[r] where factors (f32, f64 for f64) is given.
struct ScaleArgs {
  DType dtype = DType::kF32;
  const void* x = nullptr;
  void* out = nullptr;
  double factor = 1;
  const void* factors = nullptr;
  int64_t rows = 0, cols = 0;
  int64_t x_stride = 0, out_stride = 0;
  int num_threads = 1;  // set by scale()
};
void scale(ScaleArgs args, Exec& exec);

MG_DECLARE_PER_ISA(void add(const AddArgs& args))
MG_DECLARE_PER_ISA(void sum_terms(const SumTermsArgs& args))
MG_DECLARE_PER_ISA(void scale(const ScaleArgs& args))

}  // namespace megalith::cpu
