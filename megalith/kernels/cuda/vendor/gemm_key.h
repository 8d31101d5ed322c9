#pragma once
// defines: GemmKey

#include <compare>
#include <cstdint>

#include "megalith/core/dtype.h"

namespace megalith::cuda {

/// Everything that an algorithm is chosen by.
struct GemmKey {
  int64_t m = 0, n = 0, k = 0;
  int64_t a_stride = 0, b_stride = 0, c_stride = 0;
  DType dtype = DType::kF32, out_dtype = DType::kF32;
  bool is_tf32 = false;  ///< f32 operands are rounded to TF32
  bool transpose_a = false, transpose_b = false, has_bias = false, reads_c = false;
  int a_alignment = 0, b_alignment = 0, c_alignment = 0, bias_alignment = 0;  ///< bytes, 16 at most
  auto operator<=>(const GemmKey&) const = default;

  const char* operand_name() const { return is_tf32 ? "tf32" : name_of(dtype); }
  /// Every operand begins and goes on at multiples of 16 bytes.
  bool is_aligned() const {
    return a_alignment == 16 && b_alignment == 16 && c_alignment == 16 && (!has_bias || bias_alignment == 16);
  }
};

}  // namespace megalith::cuda
