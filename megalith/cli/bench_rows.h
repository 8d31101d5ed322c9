#pragma once
// defines: BenchOptions, seconds_per_call, random_values, Ceilings, measure_ceilings

#include <functional>
#include <string>

#include "megalith/config/field.h"
#include "megalith/core/exec.h"

namespace megalith {

/// What every `megalith bench` command takes.
struct BenchOptions {
  std::string device = "auto";
  std::string dtype = "bf16";
  int64_t num_threads = 0;
};
void declare_fields(BenchOptions& c, FieldList& f);

/// Median of rounds of calls, after a warm-up; a round is long beside the wait at its end.
double seconds_per_call(const std::function<void()>& call, Exec& exec);

/// Normal numbers: on zeros a GPU runs faster than on data.
Tensor random_values(const Shape& shape, DType dtype, Exec& exec);

/// What the rows are held against, measured in the same run.
struct Ceilings {
  double copy_bytes = 0;     ///< bytes read and written a second by a large copy
  double product_flops = 0;  ///< operations a second of a large matrix product
};
Ceilings measure_ceilings(DType dtype, Exec& exec);

}  // namespace megalith
