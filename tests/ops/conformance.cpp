#include "tests/ops/conformance.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "tests/base/scoped_variable.h"

namespace megalith::conformance {
namespace {

template <class Visit>
void visit_elements(const Tensor& tensor, int dim, int64_t offset, const Visit& visit) {
  if (dim == tensor.rank()) {
    visit(tensor.raw() + offset * static_cast<int64_t>(size_of(tensor.dtype())));
    return;
  }
  for (int64_t i = 0; i < tensor.dim(dim); ++i) {
    visit_elements(tensor, dim + 1, offset + i * tensor.stride(dim), visit);
  }
}

void set_values(const Tensor& tensor, const std::function<double()>& next) {
  dispatch_dtype<double, float, bf16, f16, int32_t>(tensor.dtype(), "set_values", [&]<class T>() {
    visit_elements(tensor, 0, 0, [&](std::byte* place) {
      T value;
      if constexpr (std::is_arithmetic_v<T>) {
        value = static_cast<T>(next());
      } else {
        value = T(static_cast<float>(next()));
      }
      std::memcpy(place, &value, sizeof value);
    });
  });
}

constexpr int64_t kPadding = 3;  // columns on each side

}  // namespace

std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}) {
    const ScopedVariable variable("MEGALITH_ISA", name_of(isa));
    try {
      isas.push_back(best_isa());
    } catch (const Error&) {
    }
  }
  return isas;
}

std::unique_ptr<Exec> make_exec(Isa isa, int num_threads) {
  const ScopedVariable variable("MEGALITH_ISA", name_of(isa));
  return std::make_unique<Exec>(ExecOptions{.num_threads = num_threads});
}

void for_each_variant(const std::function<void(DType, Exec&)>& body) {
  for (const Isa isa : available_isas()) {
    const auto exec = make_exec(isa, 2);
    for (const DType dtype : kFloatTypes) {
      SCOPED_TRACE(std::string(name_of(isa)) + ", " + name_of(dtype));
      body(dtype, *exec);
    }
  }
}

void expect_same_for_any_threads(const std::function<std::vector<uint8_t>(Exec&)>& body) {
  for (const Isa isa : available_isas()) {
    const std::vector<uint8_t> expected = body(*make_exec(isa, 1));
    for (const int num_threads : {2, 3}) {
      EXPECT_TRUE(body(*make_exec(isa, num_threads)) == expected)
          << name_of(isa) << ": 1 and " << num_threads << " threads differ";
    }
  }
}

Tensor poisoned_tensor(Exec& exec, const Shape& shape, DType dtype, Layout layout) {
  const auto poison = [] { return std::numeric_limits<double>::quiet_NaN(); };
  if (layout == Layout::kContiguous) {
    const Tensor tensor = exec.empty(shape, dtype);
    set_values(tensor, poison);
    return tensor;
  }
  Shape wide = shape;
  wide.set(-1, shape[-1] + 2 * kPadding);
  const Tensor base = exec.empty(wide, dtype);
  set_values(base, poison);
  return base.slice(-1, kPadding, kPadding + shape[-1]);
}

Tensor random_tensor(Exec& exec, const Shape& shape, DType dtype, uint64_t seed, Layout layout) {
  const Tensor tensor = poisoned_tensor(exec, shape, dtype, layout);
  std::mt19937_64 generator(seed);
  set_values(tensor, [&] { return static_cast<double>(generator() >> 11) * 0x1p-52 - 1; });
  return tensor;
}

Tensor tensor_of(Exec& exec, const std::vector<double>& values, const Shape& shape, DType dtype,
                 Layout layout) {
  MG_ASSERT(static_cast<int64_t>(values.size()) == shape.numel());
  const Tensor tensor = poisoned_tensor(exec, shape, dtype, layout);
  size_t index = 0;
  set_values(tensor, [&] { return values[index++]; });
  return tensor;
}

Tensor ids_tensor(Exec& exec, int64_t count, int64_t limit, uint64_t seed) {
  const Tensor tensor = exec.empty({count}, DType::kI32);
  std::mt19937_64 generator(seed);
  set_values(tensor, [&] { return static_cast<double>(generator() % static_cast<uint64_t>(limit)); });
  return tensor;
}

std::vector<double> values_of(const Tensor& tensor) {
  return to_vector<double>(tensor);
}

std::vector<uint8_t> bits_of(const Tensor& tensor) {
  std::vector<uint8_t> bits;
  const size_t size = size_of(tensor.dtype());
  visit_elements(tensor, 0, 0, [&](const std::byte* place) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(place);
    bits.insert(bits.end(), bytes, bytes + size);
  });
  return bits;
}

double unit_roundoff(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return 0x1p-53;
    case DType::kF32:
      return 0x1p-24;
    case DType::kBF16:
      return 0x1p-8;
    case DType::kF16:
      return 0x1p-11;
    default:
      return 0;
  }
}

Tolerance tolerance(DType dtype, int64_t terms, double magnitude) {
  const double sum_roundoff = unit_roundoff(dtype == DType::kF64 ? DType::kF64 : DType::kF32);
  return {.relative = 1.01 * unit_roundoff(dtype),
          .absolute = 16 * sum_roundoff * std::sqrt(static_cast<double>(terms)) * magnitude};
}

void expect_close(const Tensor& actual, const std::vector<double>& expected, Tolerance tolerance,
                  const std::string& what) {
  const std::vector<double> values = values_of(actual);
  ASSERT_EQ(values.size(), expected.size()) << what;
  size_t num_wrong = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double allowed = tolerance.relative * std::abs(expected[i]) + tolerance.absolute;
    const bool is_right =
        std::isinf(expected[i]) ? values[i] == expected[i] : std::abs(values[i] - expected[i]) <= allowed;
    if (is_right || ++num_wrong > 3) continue;
    ADD_FAILURE() << what << "[" << i << "] of " << actual.shape().str() << " is " << values[i] << ", not "
                  << expected[i] << " +- " << allowed;
  }
  EXPECT_EQ(num_wrong, 0u) << what << ": wrong elements of " << values.size();
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

void expect_gradient(const std::function<double(const std::vector<double>&)>& loss,
                     const std::vector<double>& place, const std::vector<double>& gradient,
                     const std::string& what) {
  ASSERT_EQ(place.size(), gradient.size()) << what;
  constexpr double kStep = 1e-5;
  constexpr int kDirections = 4;
  std::mt19937_64 generator(97);
  for (int direction = 0; direction < kDirections; ++direction) {
    std::vector<double> v(place.size());
    for (double& each : v) each = (generator() & 1) != 0 ? 1 : -1;
    const auto at = [&](double step) {
      std::vector<double> moved = place;
      for (size_t i = 0; i < moved.size(); ++i) moved[i] += step * v[i];
      return loss(moved);
    };
    const double measured = (at(kStep) - at(-kStep)) / (2 * kStep);
    double size = 1e-3;
    for (const double each : gradient) size += std::abs(each);
    EXPECT_NEAR(dot(gradient, v), measured, 1e-8 * size) << what << ", direction " << direction;
  }
}

}  // namespace megalith::conformance
