#pragma once
// defines: check_tensor, check_rows, check_contiguous, check_float, check_gradient, accumulate_dtype,
// are_flat, raw_or_null, row_stride_or_zero

#include <initializer_list>

#include "megalith/core/exec.h"

namespace megalith {

/// The checks that every op makes of its arguments. `op` and `name` say in the error what was wrong where.

/// Defined, on the device of `exec`, of this dtype and shape.
void check_tensor(const char* op, const char* name, const Tensor& tensor, DType dtype, const Shape& shape,
                  const Exec& exec);
/// Rows of contiguous elements at a constant stride (Tensor::is_rows).
void check_rows(const char* op, const char* name, const Tensor& tensor);
void check_contiguous(const char* op, const char* name, const Tensor& tensor);
/// Defined, on the device of `exec`, and f64, f32 or bf16.
void check_float(const char* op, const char* name, const Tensor& tensor, const Exec& exec);

/// The gradient of a weight from rows of `dtype`: of this shape, and in accumulate_dtype(dtype), or for bf16
/// in bf16. Its sums are made in accumulate_dtype(dtype) either way, and with what it held before rounded
/// once.
void check_gradient(const char* op, const char* name, const Tensor& gradient, DType dtype, const Shape& shape,
                    const Exec& exec);

/// What statistics and sums over `dtype` are kept in: f64 for f64, else f32.
inline DType accumulate_dtype(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

/// A pass over all of these tensors can treat them as one row.
inline bool are_flat(std::initializer_list<const Tensor*> tensors) {
  for (const Tensor* tensor : tensors) {
    if (!tensor->is_contiguous()) return false;
  }
  return true;
}

inline std::byte* raw_or_null(const Tensor& tensor) {
  return tensor.defined() ? tensor.raw() : nullptr;
}
inline int64_t row_stride_or_zero(const Tensor& tensor) {
  return tensor.defined() && tensor.rank() > 0 ? tensor.row_stride() : 0;
}

}  // namespace megalith
