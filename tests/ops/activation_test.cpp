#include "megalith/ops/activation.h"

#include <cmath>
#include <limits>
#include <numbers>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/ops/elementwise.h"

#include "tests/ops/conformance.h"
#include "tests/ops/performance.h"

namespace megalith {
namespace {

using namespace conformance;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr ActivationKind kKinds[] = {
    ActivationKind::kGelu, ActivationKind::kGeluErf, ActivationKind::kRelu, ActivationKind::kSquaredRelu,
    ActivationKind::kSilu, ActivationKind::kSwiglu,  ActivationKind::kGeglu};

double function(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::kGelu:
    case ActivationKind::kGeglu:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case ActivationKind::kGeluErf:
      return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
    case ActivationKind::kRelu:
      return std::max(x, 0.0);
    case ActivationKind::kSquaredRelu:
      return std::max(x, 0.0) * std::max(x, 0.0);
    case ActivationKind::kSilu:
    case ActivationKind::kSwiglu:
      return x / (1 + std::exp(-x));
  }
  return 0;
}

std::vector<double> reference(ActivationKind kind, const std::vector<double>& x, size_t width) {
  std::vector<double> y;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!is_gated(kind)) {
      y.push_back(function(kind, x[i]));
    } else if (i % width < width / 2) {
      y.push_back(function(kind, x[i]) * x[i + width / 2]);
    }
  }
  return y;
}

// Inputs over [-6, 6): beyond it the functions are straight lines.
Tensor wide_input(Exec& exec, const Shape& shape, DType dtype, uint64_t seed, Layout layout) {
  const Tensor x = random_tensor(exec, shape, dtype, seed, layout);
  if (x.numel() > 0) scale_in_place(x, 6, exec);
  return x;
}

TEST(Activation, MatchesTheDefinition) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const ActivationKind kind : kKinds) {
      SCOPED_TRACE(static_cast<int>(kind));
      for (const Shape& shape : {Shape{1, 2}, {3, 14}, {2, 5, 34}, {0, 8}, {130, 66}, {1, 8198}}) {
        for (const Layout layout : kLayouts) {
          const Tensor x = wide_input(exec, shape, dtype, 1, layout);
          Shape out_shape = shape;
          if (is_gated(kind)) out_shape.set(-1, shape[-1] / 2);
          const Tensor y = poisoned_tensor(exec, out_shape, dtype, layout);
          activation(kind, x, y, exec);
          expect_close(y, reference(kind, values_of(x), static_cast<size_t>(shape[-1])),
                       tolerance(dtype, 1, 6), "y");
        }
      }
    }
  });
}

TEST(Activation, GradientsMatchFiniteDifferences) {
  for (const Isa isa : available_isas()) {
    const auto exec = make_exec(isa, 2);
    for (const ActivationKind kind : kKinds) {
      SCOPED_TRACE(static_cast<int>(kind));
      for (const Layout layout : kLayouts) {
        const Shape shape{9, 26};
        const Shape out_shape{9, is_gated(kind) ? 13 : 26};
        const Tensor x = wide_input(*exec, shape, DType::kF64, 1, layout);
        const Tensor d_y = random_tensor(*exec, out_shape, DType::kF64, 2, layout);
        const Tensor d_x = poisoned_tensor(*exec, shape, DType::kF64, layout);
        activation_backward(kind, x, d_y, d_x, *exec);
        const auto loss = [&](const std::vector<double>& values) {
          const Tensor y = poisoned_tensor(*exec, out_shape, DType::kF64);
          activation(kind, tensor_of(*exec, values, shape, DType::kF64), y, *exec);
          return dot(values_of(y), values_of(d_y));
        };
        expect_gradient(loss, values_of(x), values_of(d_x), "d_x");
        activation_backward(kind, x, d_y, x, *exec);
        EXPECT_EQ(bits_of(x), bits_of(d_x)) << "in place";
      }
    }
  }
}

TEST(Activation, LowPrecisionGradientsFollowDouble) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const ActivationKind kind : kKinds) {
      SCOPED_TRACE(static_cast<int>(kind));
      const Shape shape{40, 90};
      const Shape out_shape{40, is_gated(kind) ? 45 : 90};
      const Tensor x = wide_input(exec, shape, dtype, 1, Layout::kContiguous);
      const Tensor d_y = random_tensor(exec, out_shape, dtype, 2);
      const Tensor d_x = poisoned_tensor(exec, shape, dtype);
      activation_backward(kind, x, d_y, d_x, exec);
      const Tensor expected = poisoned_tensor(exec, shape, DType::kF64);
      activation_backward(kind, tensor_of(exec, values_of(x), shape, DType::kF64),
                          tensor_of(exec, values_of(d_y), out_shape, DType::kF64), expected, exec);
      expect_close(d_x, values_of(expected), tolerance(dtype, 1, 16), "d_x");
    }
  });
}

TEST(Activation, LargeValuesStayFiniteAndNanComesThrough) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const ActivationKind kind : kKinds) {
      if (is_gated(kind)) continue;
      // f16 ends at 65504, which a square must not reach.
      const double large = dtype == DType::kF16 ? 250 : 1000;
      const Tensor x = tensor_of(exec, {-large, large, -90, 90, 0, -0.0, std::nan("")}, {1, 7}, dtype);
      const Tensor y = poisoned_tensor(exec, {1, 7}, dtype);
      activation(kind, x, y, exec);
      const Tensor ones = tensor_of(exec, std::vector<double>(7, 1), {1, 7}, dtype);
      const Tensor d_x = poisoned_tensor(exec, {1, 7}, dtype);
      activation_backward(kind, x, ones, d_x, exec);
      const std::vector<double> values = values_of(y);
      const std::vector<double> slopes = values_of(d_x);
      for (size_t i = 0; i < 6; ++i) {
        EXPECT_TRUE(std::isfinite(values[i])) << static_cast<int>(kind) << " " << i;
        EXPECT_TRUE(std::isfinite(slopes[i])) << static_cast<int>(kind) << " " << i;
      }
      EXPECT_TRUE(std::isnan(values[6])) << static_cast<int>(kind);
    }
  });
}

TEST(Activation, RefusesAnOddGatedWidth) {
  Exec exec;
  const Tensor x = exec.zeros({2, 7}, DType::kF32);
  EXPECT_THAT(
      [&] {
        activation(ActivationKind::kSwiglu, x, exec.zeros({2, 3}, DType::kF32), exec);
      },
      ThrowsMessage<Error>(HasSubstr("even width, not 7")));
}

TEST(ActivationPerformance, Table) {
  if (!performance_wanted()) GTEST_SKIP() << "set MEGALITH_PERF=1";
  Exec exec;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const auto size = static_cast<int64_t>(size_of(dtype));
    for (const auto& [kind, name] : {std::pair{ActivationKind::kSwiglu, "swiglu"},
                                     {ActivationKind::kGelu, "gelu"},
                                     {ActivationKind::kGeluErf, "gelu (erf)"}}) {
      for (const Shape& shape : {Shape{4096, 1536}, {1024, 3072}, {16384, 2048}}) {
        const std::string suffix = std::string(" ") + name_of(dtype) + " " + shape.str();
        const Shape out_shape{shape[0], is_gated(kind) ? shape[1] / 2 : shape[1]};
        const Tensor x = random_tensor(exec, shape, dtype, 1);
        const Tensor y = random_tensor(exec, out_shape, dtype, 2);
        const Tensor d_x = exec.zeros(shape, dtype);
        report_bandwidth(name + suffix, size * (shape.numel() + out_shape.numel()), exec.num_threads(),
                         [&] { activation(kind, x, y, exec); });
        report_bandwidth(std::string(name) + " backward" + suffix,
                         size * (2 * shape.numel() + out_shape.numel()), exec.num_threads(),
                         [&] { activation_backward(kind, x, y, d_x, exec); });
      }
    }
  }
}

}  // namespace
}  // namespace megalith
