#include "megalith/ops/norm.h"

#include <cmath>

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

constexpr double kEps = 1e-5;
const Shape kShapes[] = {{1, 1}, {3, 7}, {2, 5, 64}, {33, 129}, {0, 16}, {70, 768}};

struct Reference {
  std::vector<double> y, mean, rstd;
};

// Straight from the definitions in norm.h.
Reference reference(NormKind kind, const std::vector<double>& x, const std::vector<double>& weight,
                    const std::vector<double>& bias) {
  const size_t cols = weight.size();
  Reference result;
  result.y.resize(x.size());
  for (size_t row = 0; row < x.size() / cols; ++row) {
    const double* in = x.data() + row * cols;
    double mean = 0, variance = 0;
    if (kind == NormKind::kLayerNorm) {
      for (size_t c = 0; c < cols; ++c) mean += in[c] / static_cast<double>(cols);
    }
    for (size_t c = 0; c < cols; ++c) variance += (in[c] - mean) * (in[c] - mean) / static_cast<double>(cols);
    const double rstd = 1 / std::sqrt(variance + kEps);
    for (size_t c = 0; c < cols; ++c) {
      result.y[row * cols + c] = (in[c] - mean) * rstd * weight[c] + (bias.empty() ? 0 : bias[c]);
    }
    result.mean.push_back(mean);
    result.rstd.push_back(rstd);
  }
  return result;
}

struct Case {
  NormKind kind;
  bool has_residual;
  Layout layout;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const NormKind kind : {NormKind::kRmsNorm, NormKind::kLayerNorm}) {
    for (const bool has_residual : {false, true}) {
      for (const Layout layout : kLayouts) cases.push_back({kind, has_residual, layout});
    }
  }
  return cases;
}

DType sum_dtype(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

TEST(Norm, MatchesTheDefinition) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const Case& each : all_cases()) {
      for (const Shape& shape : kShapes) {
        const bool is_layer_norm = each.kind == NormKind::kLayerNorm;
        const int64_t cols = shape[-1];
        NormArgs args{.kind = each.kind, .eps = kEps};
        args.x = random_tensor(exec, shape, dtype, 1, each.layout);
        args.weight = random_tensor(exec, {cols}, dtype, 2);
        if (is_layer_norm) args.bias = random_tensor(exec, {cols}, dtype, 3);
        args.y = poisoned_tensor(exec, shape, dtype, each.layout);
        args.rstd = poisoned_tensor(exec, {args.x.rows()}, sum_dtype(dtype));
        if (is_layer_norm) args.mean = poisoned_tensor(exec, {args.x.rows()}, sum_dtype(dtype));
        std::vector<double> x = values_of(args.x);
        if (each.has_residual) {
          args.residual = random_tensor(exec, shape, dtype, 4, each.layout);
          args.sum = poisoned_tensor(exec, shape, dtype);
        }
        norm(args, exec);
        if (each.has_residual) {
          const std::vector<double> residual = values_of(args.residual);
          for (size_t i = 0; i < x.size(); ++i) x[i] += residual[i];
          expect_close(args.sum, x, tolerance(dtype, 1), "sum");
          x = values_of(args.sum);
        }
        const Reference expected = reference(each.kind, x, values_of(args.weight),
                                             is_layer_norm ? values_of(args.bias) : std::vector<double>{});
        // A row of one element has a variance of 0 and a 1 / sqrt(eps) that magnifies the error of the mean.
        const double magnification = cols == 1 ? 1 / std::sqrt(kEps) : 4;
        expect_close(args.y, expected.y, tolerance(dtype, cols, magnification), "y");
        expect_close(args.rstd, expected.rstd, tolerance(sum_dtype(dtype), cols, magnification), "rstd");
        if (is_layer_norm) expect_close(args.mean, expected.mean, tolerance(sum_dtype(dtype), cols), "mean");
      }
    }
  });
}

// Heads side by side in wider rows, over themselves: the bits of the same rows apart, and no one else's
// places are touched.
TEST(Norm, HeadsInPlaceAreRows) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const NormKind kind : {NormKind::kRmsNorm, NormKind::kLayerNorm}) {
      constexpr int64_t kTokens = 11, kAll = 6, kFirst = 1, kHeads = 3, kDim = 20;
      const bool is_layer_norm = kind == NormKind::kLayerNorm;
      const Tensor x = random_tensor(exec, {kTokens, kAll, kDim}, dtype, 1);
      const Tensor d_y = random_tensor(exec, {kTokens, kAll, kDim}, dtype, 2);
      const Tensor weight = random_tensor(exec, {kDim}, dtype, 3);
      const Tensor bias = is_layer_norm ? random_tensor(exec, {kDim}, dtype, 4) : Tensor();
      const auto heads_of = [&](const Tensor& tensor) { return tensor.slice(1, kFirst, kFirst + kHeads); };
      // Forward and backward of the heads: what was x, y, d_x and d_weight.
      const auto run = [&](const Tensor& in, const Tensor& gradient, const Tensor& y, const Tensor& d_x,
                           const Tensor& kept) {
        const Tensor rstd = poisoned_tensor(exec, {in.rows()}, sum_dtype(dtype));
        const Tensor mean = is_layer_norm ? poisoned_tensor(exec, {in.rows()}, sum_dtype(dtype)) : Tensor();
        const Tensor d_weight = poisoned_tensor(exec, {kDim}, sum_dtype(dtype));
        norm({.kind = kind,
              .x = in,
              .weight = weight,
              .bias = bias,
              .eps = kEps,
              .sum = kept,
              .y = y,
              .mean = mean,
              .rstd = rstd},
             exec);
        norm_backward({.kind = kind,
                       .d_y = gradient,
                       .x = kept.defined() ? kept : in,
                       .weight = weight,
                       .mean = mean,
                       .rstd = rstd,
                       .d_x = d_x,
                       .d_weight = d_weight},
                      exec);
        return values_of(d_weight);
      };
      const Shape apart{kTokens * kHeads, kDim};
      const Tensor rows = exec.empty({kTokens, kHeads, kDim}, dtype),
                   d_rows = exec.empty(rows.shape(), dtype);
      copy(heads_of(x), rows, exec);
      copy(heads_of(d_y), d_rows, exec);
      const Tensor y = poisoned_tensor(exec, apart, dtype), d_x = poisoned_tensor(exec, apart, dtype);
      const std::vector<double> d_weight = run(rows.view(apart), d_rows.view(apart), y, d_x, Tensor());
      std::vector<double> expected_x = values_of(x), expected_d = values_of(d_y);
      const std::vector<double> y_values = values_of(y), d_x_values = values_of(d_x);
      for (size_t i = 0; i < y_values.size(); ++i) {
        const size_t token = i / (kHeads * kDim), within = i % (kHeads * kDim);
        expected_x[token * kAll * kDim + kFirst * kDim + within] = y_values[i];
        expected_d[token * kAll * kDim + kFirst * kDim + within] = d_x_values[i];
      }
      const Tensor kept = poisoned_tensor(exec, rows.shape(), dtype);
      EXPECT_EQ(run(heads_of(x), heads_of(d_y), heads_of(x), heads_of(d_y), kept), d_weight);
      EXPECT_EQ(values_of(kept), values_of(rows));
      EXPECT_EQ(values_of(x), expected_x);
      EXPECT_EQ(values_of(d_y), expected_d);
    }
  });
}

// One step back from y through norm in f64; also what d_weight and d_bias should be.
TEST(Norm, GradientsMatchFiniteDifferences) {
  for (const Isa isa : available_isas()) {
    const auto exec = make_exec(isa, 2);
    for (const Case& each : all_cases()) {
      const Shape shape{37, 13};
      const bool is_layer_norm = each.kind == NormKind::kLayerNorm;
      const Tensor x = random_tensor(*exec, shape, DType::kF64, 1, each.layout);
      const Tensor weight = random_tensor(*exec, {13}, DType::kF64, 2);
      const Tensor bias = random_tensor(*exec, {13}, DType::kF64, 3);
      const Tensor d_y = random_tensor(*exec, shape, DType::kF64, 4, each.layout);
      const Tensor d_sum = random_tensor(*exec, shape, DType::kF64, 5, each.layout);
      const Tensor y = poisoned_tensor(*exec, shape, DType::kF64);
      const Tensor mean = poisoned_tensor(*exec, {37}, DType::kF64);
      const Tensor rstd = poisoned_tensor(*exec, {37}, DType::kF64);
      const auto loss = [&](const std::vector<double>& x_values, const std::vector<double>& w_values,
                            const std::vector<double>& b_values) {
        NormArgs args{.kind = each.kind, .eps = kEps, .y = y, .rstd = rstd};
        args.x = tensor_of(*exec, x_values, shape, DType::kF64);
        args.weight = tensor_of(*exec, w_values, {13}, DType::kF64);
        if (is_layer_norm) {
          args.bias = tensor_of(*exec, b_values, {13}, DType::kF64);
          args.mean = mean;
        }
        norm(args, *exec);
        return dot(values_of(y), values_of(d_y)) + (each.has_residual ? dot(x_values, values_of(d_sum)) : 0);
      };
      loss(values_of(x), values_of(weight), values_of(bias));  // for mean and rstd
      NormBackwardArgs args{.kind = each.kind, .d_y = d_y, .x = x, .weight = weight, .rstd = rstd};
      if (each.has_residual) args.d_sum = d_sum;
      args.d_x = poisoned_tensor(*exec, shape, DType::kF64, each.layout);
      args.d_weight = poisoned_tensor(*exec, {13}, DType::kF64);
      if (is_layer_norm) {
        args.mean = tensor_of(*exec, values_of(mean), {37}, DType::kF64);
        args.d_bias = poisoned_tensor(*exec, {13}, DType::kF64);
      }
      args.rstd = tensor_of(*exec, values_of(rstd), {37}, DType::kF64);
      norm_backward(args, *exec);
      expect_gradient([&](const auto& v) { return loss(v, values_of(weight), values_of(bias)); },
                      values_of(x), values_of(args.d_x), "d_x");
      expect_gradient([&](const auto& v) { return loss(values_of(x), v, values_of(bias)); },
                      values_of(weight), values_of(args.d_weight), "d_weight");
      if (is_layer_norm) {
        expect_gradient([&](const auto& v) { return loss(values_of(x), values_of(weight), v); },
                        values_of(bias), values_of(args.d_bias), "d_bias");
      }

      // Added to, without d_weight's own pass, and over one of the inputs.
      const std::vector<double> once = values_of(args.d_weight);
      args.accumulate = true;
      norm_backward(args, *exec);
      std::vector<double> twice = once;
      for (double& value : twice) value *= 2;
      expect_close(args.d_weight, twice, tolerance(DType::kF64, 1), "d_weight, accumulated");
      const std::vector<double> d_x = values_of(args.d_x);
      args.d_weight = args.d_bias = Tensor();
      args.d_x = each.has_residual ? d_sum : d_y;
      norm_backward(args, *exec);
      expect_close(args.d_x, d_x, tolerance(DType::kF64, 13), "d_x in place");
    }
  }
}

TEST(Norm, LowPrecisionGradientsFollowDouble) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const NormKind kind : {NormKind::kRmsNorm, NormKind::kLayerNorm}) {
      const Shape shape{65, 100};
      const auto run = [&](DType type, bool want_weight) {
        // The values of `dtype`, computed with in `type`.
        const auto input = [&](const Shape& of, uint64_t seed) {
          return tensor_of(exec, values_of(random_tensor(exec, of, dtype, seed)), of, type);
        };
        NormArgs forward{.kind = kind, .x = input(shape, 1), .weight = input({100}, 2), .eps = kEps};
        forward.y = poisoned_tensor(exec, shape, type);
        forward.mean = poisoned_tensor(exec, {65}, sum_dtype(type));
        forward.rstd = poisoned_tensor(exec, {65}, sum_dtype(type));
        norm(forward, exec);
        NormBackwardArgs args{.kind = kind,
                              .d_y = input(shape, 3),
                              .d_sum = input(shape, 4),
                              .x = forward.x,
                              .weight = forward.weight,
                              .mean = forward.mean,
                              .rstd = forward.rstd};
        args.d_x = poisoned_tensor(exec, shape, type);
        args.d_weight = poisoned_tensor(exec, {100}, sum_dtype(type));
        norm_backward(args, exec);
        return want_weight ? args.d_weight : args.d_x;
      };
      expect_close(run(dtype, false), values_of(run(DType::kF64, false)), tolerance(dtype, 100, 4), "d_x");
      expect_close(run(dtype, true), values_of(run(DType::kF64, true)), tolerance(sum_dtype(dtype), 100, 4),
                   "d_weight");
    }
  });
}

TEST(Norm, DoesNotDependOnTheThreads) {
  expect_same_for_any_threads([](Exec& exec) {
    const Shape shape{501, 131};
    NormBackwardArgs args{.kind = NormKind::kLayerNorm};
    args.x = random_tensor(exec, shape, DType::kF32, 1);
    args.d_y = random_tensor(exec, shape, DType::kF32, 2);
    args.weight = random_tensor(exec, {131}, DType::kF32, 3);
    args.mean = random_tensor(exec, {501}, DType::kF32, 4);
    args.rstd = random_tensor(exec, {501}, DType::kF32, 5);
    args.d_x = poisoned_tensor(exec, shape, DType::kF32);
    args.d_weight = poisoned_tensor(exec, {131}, DType::kF32);
    args.d_bias = poisoned_tensor(exec, {131}, DType::kF32);
    norm_backward(args, exec);
    std::vector<uint8_t> bits = bits_of(args.d_x);
    for (const Tensor& each : {args.d_weight, args.d_bias}) {
      const std::vector<uint8_t> more = bits_of(each);
      bits.insert(bits.end(), more.begin(), more.end());
    }
    return bits;
  });
}

TEST(Norm, NamesWhatDoesNotFit) {
  Exec exec;
  NormArgs args{.x = exec.zeros({4, 8}, DType::kF32),
                .weight = exec.zeros({7}, DType::kF32),
                .y = exec.zeros({4, 8}, DType::kF32),
                .rstd = exec.zeros({4}, DType::kF32)};
  EXPECT_THAT([&] { norm(args, exec); },
              ThrowsMessage<Error>(HasSubstr("norm: weight has shape [7], not [8]")));
  args.weight = exec.zeros({8}, DType::kF32);
  args.kind = NormKind::kLayerNorm;
  EXPECT_THAT([&] { norm(args, exec); }, ThrowsMessage<Error>(HasSubstr("norm: mean is not given")));
}

TEST(NormPerformance, Table) {
  if (!performance_wanted()) GTEST_SKIP() << "set MEGALITH_PERF=1";
  Exec exec;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const auto size = static_cast<int64_t>(size_of(dtype));
    for (const Shape& shape : {Shape{4096, 256}, {4096, 768}, {16384, 1024}}) {
      const std::string suffix = std::string(" ") + name_of(dtype) + " " + shape.str();
      const int64_t cols = shape[-1];
      NormArgs args{.x = random_tensor(exec, shape, dtype, 1),
                    .weight = random_tensor(exec, {cols}, dtype, 2)};
      args.y = exec.zeros(shape, dtype);
      args.rstd = exec.zeros({shape[0]}, DType::kF32);
      report_bandwidth("rmsnorm" + suffix, 2 * size * shape.numel(), exec.num_threads(),
                       [&] { norm(args, exec); });
      args.residual = random_tensor(exec, shape, dtype, 3);
      args.sum = exec.zeros(shape, dtype);
      report_bandwidth("rmsnorm + residual" + suffix, 4 * size * shape.numel(), exec.num_threads(),
                       [&] { norm(args, exec); });
      NormBackwardArgs back{.d_y = args.residual,
                            .d_sum = args.sum,
                            .x = args.x,
                            .weight = args.weight,
                            .rstd = args.rstd,
                            .d_x = args.y};
      back.d_weight = exec.zeros({cols}, DType::kF32);
      report_bandwidth("rmsnorm backward" + suffix, 4 * size * shape.numel(), exec.num_threads(),
                       [&] { norm_backward(back, exec); });
      back.kind = NormKind::kLayerNorm;
      back.mean = exec.zeros({shape[0]}, DType::kF32);
      back.d_bias = exec.zeros({cols}, DType::kF32);
      report_bandwidth("layernorm backward" + suffix, 4 * size * shape.numel(), exec.num_threads(),
                       [&] { norm_backward(back, exec); });
    }
  }
}

}  // namespace
}  // namespace megalith
