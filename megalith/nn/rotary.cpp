#include "megalith/nn/rotary.h"

#include <cmath>
#include <numbers>
#include <vector>

namespace megalith {
namespace {

double scaled_frequency(double theta, const RotaryOptions& options) {
  if (options.scaling_factor <= 0) return theta;
  const double wavelength = 2 * std::numbers::pi / theta;
  if (wavelength > options.original_positions / options.low_frequency_factor)
    return theta / options.scaling_factor;
  if (wavelength < options.original_positions / options.high_frequency_factor) return theta;
  const double s = (options.original_positions / wavelength - options.low_frequency_factor) /
                   (options.high_frequency_factor - options.low_frequency_factor);
  return (1 - s) * theta / options.scaling_factor + s * theta;
}

template <class T>
RotaryTables fill_tables(const RotaryOptions& options, int64_t num_pairs, Exec& exec) {
  std::vector<double> frequencies;
  for (int64_t i = 0; i < num_pairs; ++i) {
    const double theta = std::pow(options.base, -static_cast<double>(i) / static_cast<double>(num_pairs));
    frequencies.push_back(scaled_frequency(theta, options));
  }
  std::vector<T> cosines, sines;
  for (int64_t position = 0; position < options.num_positions; ++position) {
    for (const double frequency : frequencies) {
      cosines.push_back(static_cast<T>(std::cos(static_cast<double>(position) * frequency)));
      sines.push_back(static_cast<T>(std::sin(static_cast<double>(position) * frequency)));
    }
  }
  const Shape shape{options.num_positions, num_pairs};
  return {exec.from_host(std::span<const T>(cosines), shape),
          exec.from_host(std::span<const T>(sines), shape)};
}

}  // namespace

RotaryTables make_rotary_tables(const RotaryOptions& options, DType model_dtype, Exec& exec) {
  const OwnerScope scope(exec.ledger(), "rotary tables");
  const auto num_pairs = static_cast<int64_t>(static_cast<double>(options.head_dim) * options.percent) / 2;
  return model_dtype == DType::kF64 ? fill_tables<double>(options, num_pairs, exec)
                                    : fill_tables<float>(options, num_pairs, exec);
}

}  // namespace megalith
