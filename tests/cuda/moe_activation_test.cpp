// Activations of experts with the router's weights, in one pass on the GPU.

#include <algorithm>
#include <cmath>

#include "megalith/ops/weighted_activation.h"

#include "tests/cuda/twins.h"

namespace megalith {
namespace {

using testing::Twins;

TEST(CudaMoe, WeightedActivations) {
  constexpr ActivationKind kKinds[] = {
      ActivationKind::kGelu, ActivationKind::kGeluErf, ActivationKind::kRelu,  ActivationKind::kSquaredRelu,
      ActivationKind::kSilu, ActivationKind::kSwiglu,  ActivationKind::kGeglu,
  };
  Twins t;
  for (const DType dtype : conformance::kFloatTypes) {
    for (const Shape& shape : testing::row_shapes()) {
      for (const ActivationKind kind : kKinds) {
        SCOPED_TRACE(fmt::format("{} {} kind {}", name_of(dtype), shape.str(), static_cast<int>(kind)));
        const Shape wide{shape[0], is_gated(kind) ? 2 * shape[1] : shape[1]};
        const auto x = t.random(wide, dtype, 1), d_y = t.random(shape, dtype, 2);
        const auto weights = t.random({shape[0], 1}, dtype == DType::kF64 ? dtype : DType::kF32, 3);
        const auto y = t.poisoned(shape, dtype), d_x = t.poisoned(wide, dtype);
        const auto d_weights = t.poisoned(weights.cpu.shape(), weights.cpu.dtype());
        weighted_activation({.kind = kind, .x = x.cpu, .weights = weights.cpu, .y = y.cpu}, t.cpu());
        weighted_activation({.kind = kind, .x = x.gpu, .weights = weights.gpu, .y = y.gpu}, t.gpu());
        Twins::expect_close(y, 4, 4, "y");
        for (const bool has_weights : {false, true}) {
          weighted_activation_backward({.kind = kind,
                                        .x = x.cpu,
                                        .weights = weights.cpu,
                                        .d_y = d_y.cpu,
                                        .d_x = d_x.cpu,
                                        .d_weights = has_weights ? d_weights.cpu : Tensor()},
                                       t.cpu());
          weighted_activation_backward({.kind = kind,
                                        .x = x.gpu,
                                        .weights = weights.gpu,
                                        .d_y = d_y.gpu,
                                        .d_x = d_x.gpu,
                                        .d_weights = has_weights ? d_weights.gpu : Tensor()},
                                       t.gpu());
          Twins::expect_close(d_x, 4, 4, "d_x");
        }
        // The CPU rounds each term to the dtype of x before it is summed.
        const double rounding =
            conformance::unit_roundoff(dtype) / conformance::unit_roundoff(weights.cpu.dtype());
        Twins::expect_close(d_weights, shape[1], std::max(1.0, rounding / 8), "d_weights");
      }
    }
  }
}

// Those that are not there may hold anything and stay as they are.
TEST(CudaMoe, WeightedActivationsOfTheFirstRows) {
  Twins t;
  constexpr int64_t kRows = 21, kCols = 40;
  for (const bool is_on_gpu : {false, true}) {
    Exec& exec = is_on_gpu ? t.gpu() : t.cpu();
    const auto of = [&](const Twins::Pair& pair) { return is_on_gpu ? pair.gpu : pair.cpu; };
    for (const int32_t count : {0, 13, 21}) {
      const std::vector<int32_t> numbers = {7, count};
      const Tensor num_rows = exec.from_host(std::span<const int32_t>(numbers), {2}).slice(0, 1, 2);
      const Tensor x = of(t.random({kRows, 2 * kCols}, DType::kF32, 1));
      const Tensor weights = of(t.random({kRows, 1}, DType::kF32, 2)),
                   d_y = of(t.random({kRows, kCols}, DType::kF32, 3));
      const auto run = [&](const Tensor& rows) {
        const Tensor y = of(t.poisoned({kRows, kCols}, DType::kF32)),
                     d_x = of(t.poisoned(x.shape(), x.dtype())),
                     d_weights = of(t.poisoned(weights.shape(), weights.dtype()));
        weighted_activation({.x = x, .weights = weights, .y = y, .num_rows = rows}, exec);
        weighted_activation_backward(
            {.x = x, .weights = weights, .d_y = d_y, .d_x = d_x, .d_weights = d_weights, .num_rows = rows},
            exec);
        return std::vector<Tensor>{y, d_x, d_weights};
      };
      const std::vector<Tensor> all = run({}), some = run(num_rows);
      for (size_t i = 0; i < all.size(); ++i) {
        EXPECT_EQ(conformance::values_of(some[i].slice(0, 0, count)),
                  conformance::values_of(all[i].slice(0, 0, count)));
        for (const double value : conformance::values_of(some[i].slice(0, count, kRows)))
          EXPECT_TRUE(std::isnan(value));
      }
    }
  }
}

}  // namespace
}  // namespace megalith
