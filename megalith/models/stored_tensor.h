#pragma once
// defines: read_stored_tensor

#include "megalith/core/exec.h"
#include "megalith/io/safetensors.h"

namespace megalith {

/// Fills `to` (contiguous, the stored shape) from a file. Between f64, f32, bf16 and f16 the values are
/// converted: exactly to a wider type, rounded to nearest even to a narrower one. Throws Error naming the
/// file, the tensor and both shapes or dtypes.
void read_stored_tensor(const SafetensorsFile& file, const SafetensorsEntry& entry, const Tensor& to,
                        Exec& exec);

}  // namespace megalith
