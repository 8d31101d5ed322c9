#pragma once
// defines: fill_from_stored, read_stored_tensor

#include "megalith/core/exec.h"
#include "megalith/io/safetensors.h"

namespace megalith {

/// Fills `to` (contiguous) with as many elements of `dtype` as they lie in `bytes`, in any place. Throws
/// Error naming the tensor and both dtypes where they do not convert (see below).
void fill_from_stored(const std::string& name, std::span<const std::byte> bytes, DType dtype,
                      const Tensor& to, Exec& exec);

/// Fills `to` (contiguous, the stored shape) from a file. Between f64, f32, bf16 and f16 the values are
/// converted: exactly to a wider type, rounded to nearest even to a narrower one. Throws Error naming the
/// file, the tensor and both shapes or dtypes.
void read_stored_tensor(const SafetensorsFile& file, const SafetensorsEntry& entry, const Tensor& to,
                        Exec& exec);

}  // namespace megalith
