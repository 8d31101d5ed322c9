#pragma once
// defines: Layout, available_isas, make_exec, for_each_variant, random_tensor, poisoned_tensor, tensor_of,
// ids_tensor, values_of, bits_of, unit_roundoff, Tolerance, tolerance, expect_close,
// expect_same_for_any_threads, expect_gradient, dot

#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "megalith/core/exec.h"

namespace megalith::conformance {

/// How a test tensor lies in memory: kPaddedRows is a slice of a wider tensor, whose other columns hold NaN.
enum class Layout { kContiguous, kPaddedRows };
constexpr Layout kLayouts[] = {Layout::kContiguous, Layout::kPaddedRows};

/// The dtypes that CPU kernels compute in.
constexpr DType kFloatTypes[] = {DType::kF64, DType::kF32, DType::kBF16, DType::kF16};

/// The instruction sets that this processor has.
std::vector<Isa> available_isas();
std::unique_ptr<Exec> make_exec(Isa isa, int num_threads);

/// Runs `body` for every dtype in kFloatTypes and every instruction set; failures name them.
void for_each_variant(const std::function<void(DType, Exec&)>& body);

/// Runs `body` with one, two and three threads on every instruction set and expects the same bits: `body`
/// returns what to compare.
void expect_same_for_any_threads(const std::function<std::vector<uint8_t>(Exec&)>& body);

/// Values uniform in [-1, 1), rounded to dtype; the same for the same seed.
Tensor random_tensor(Exec& exec, const Shape& shape, DType dtype, uint64_t seed,
                     Layout layout = Layout::kContiguous);
/// For outputs: all NaN, so that an element which is never written is seen.
Tensor poisoned_tensor(Exec& exec, const Shape& shape, DType dtype, Layout layout = Layout::kContiguous);
/// Row-major values, rounded to dtype.
Tensor tensor_of(Exec& exec, const std::vector<double>& values, const Shape& shape, DType dtype,
                 Layout layout = Layout::kContiguous);
/// i32 values in [0, limit).
Tensor ids_tensor(Exec& exec, int64_t count, int64_t limit, uint64_t seed);

/// Row-major, exact.
std::vector<double> values_of(const Tensor& tensor);
/// The bytes of the elements in row-major order.
std::vector<uint8_t> bits_of(const Tensor& tensor);

/// Largest relative error of rounding to nearest: 2^-53, 2^-24, 2^-8, 2^-11.
double unit_roundoff(DType dtype);

/// |actual - expected| <= relative * |expected| + absolute.
struct Tolerance {
  double relative = 0;
  double absolute = 0;
};
/// For a result stored as `dtype` that sums `terms` terms of size `magnitude`: rounding of the stored value,
/// and the random walk of the rounding of the sums, kept in f64 for f64 and in f32 for all others. The
/// factor 16 leaves room for a few more roundings per term and for the 2-ulp functions of vector_math.h.
Tolerance tolerance(DType dtype, int64_t terms, double magnitude = 1);

void expect_close(const Tensor& actual, const std::vector<double>& expected, Tolerance tolerance,
                  const std::string& what);

/// Compares a gradient with central differences of `loss` along random directions. `loss` is smooth and takes
/// the place of the values it is given; f64 throughout. The error of the differences is O(step^2) and
/// rounding over step: with a step of 1e-5 both stay below 1e-8 of the size of the sum.
void expect_gradient(const std::function<double(const std::vector<double>&)>& loss,
                     const std::vector<double>& place, const std::vector<double>& gradient,
                     const std::string& what);

double dot(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace megalith::conformance
