#pragma once
// defines: RotaryOptions, RotaryTables, make_rotary_tables

#include <cstdint>

#include "megalith/core/exec.h"

namespace megalith {

/// theta_i = base^(-2i / (2R)), i < R = head_dim * percent / 2, with Llama 3's frequency scaling when
/// scaling_factor > 0: with wavelength lambda = 2 pi / theta, L0 the original context, theta / factor for
/// lambda > L0 / low, theta for lambda < L0 / high, and (1 - s) theta / factor + s theta with s = (L0 /
/// lambda - low) / (high - low) between (Llama 3 reference code, apply_scaling).
struct RotaryOptions {
  int64_t head_dim = 0;
  int64_t num_positions = 0;
  double base = 10000;
  double percent = 1;
  double scaling_factor = 0;
  double low_frequency_factor = 1;
  double high_frequency_factor = 4;
  double original_positions = 8192;
};

/// cos and sin of position * theta_i: [num_positions, R], f32 (f64 for a f64 model).
struct RotaryTables {
  Tensor cos, sin;
};
RotaryTables make_rotary_tables(const RotaryOptions& options, DType model_dtype, Exec& exec);

}  // namespace megalith
