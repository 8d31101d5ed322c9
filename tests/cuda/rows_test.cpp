// Passes over rows: elementwise ops, activations, dropout, norms, rope.

#include "megalith/ops/activation.h"
#include "megalith/ops/dropout.h"
#include "megalith/ops/norm.h"
#include "megalith/ops/random_fill.h"
#include "megalith/ops/rope.h"

#include "tests/cuda/twins.h"

namespace megalith {
namespace {

using conformance::kFloatTypes;
using conformance::kLayouts;
using conformance::Layout;
using testing::row_shapes;
using testing::Twins;

// Every dtype, shape and layout.
template <class Body>
void for_each_case(const Body& body, const std::vector<Shape>& shapes = row_shapes()) {
  Twins twins;
  for (const DType dtype : kFloatTypes) {
    for (const Shape& shape : shapes) {
      for (const Layout layout : kLayouts) {
        SCOPED_TRACE(std::string(name_of(dtype)) + " " + shape.str() +
                     (layout == Layout::kContiguous ? "" : " padded"));
        body(twins, dtype, shape, layout);
      }
    }
  }
}

DType sum_type(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

TEST(CudaRows, AddScaleAndSum) {
  for_each_case([](Twins& t, DType dtype, const Shape& shape, Layout layout) {
    const auto a = t.random(shape, dtype, 1, layout), b = t.random(shape, dtype, 2, layout);
    const auto out = t.poisoned(shape, dtype, layout);
    add(a.cpu, b.cpu, out.cpu, t.cpu());
    add(a.gpu, b.gpu, out.gpu, t.gpu());
    Twins::expect_equal(out, "add");
    scale_in_place(out.cpu, 0.75, t.cpu());
    scale_in_place(out.gpu, 0.75, t.gpu());
    Twins::expect_equal(out, "scale_in_place");
    const auto factors = t.random({shape[0]}, sum_type(dtype), 3);
    scale_rows(a.cpu, factors.cpu, out.cpu, t.cpu());
    scale_rows(a.gpu, factors.gpu, out.gpu, t.gpu());
    Twins::expect_equal(out, "scale_rows");
    const auto sums = t.random({shape[1]}, sum_type(dtype), 4);
    for (const bool accumulate : {true, false}) {
      sum_rows({.x = a.cpu, .out = sums.cpu, .accumulate = accumulate}, t.cpu());
      sum_rows({.x = a.gpu, .out = sums.gpu, .accumulate = accumulate}, t.gpu());
      Twins::expect_close(sums, shape[0] + 1, 1, "sum_rows");
    }
  });
}

TEST(CudaRows, CopyConvertsAndWalksStrides) {
  Twins t;
  for (const DType from : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
    for (const DType to : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
      for (const Shape& shape : row_shapes()) {
        SCOPED_TRACE(std::string(name_of(from)) + " to " + name_of(to) + " " + shape.str());
        const auto x = t.random(shape, from, 5);
        const auto same = t.poisoned(shape, to, Layout::kPaddedRows);
        copy(x.cpu, same.cpu, t.cpu());
        copy(x.gpu, same.gpu, t.gpu());
        Twins::expect_equal(same, "copy");
        const auto turned = t.poisoned({shape[1], shape[0]}, to);
        copy(x.cpu.transpose(0, 1), turned.cpu, t.cpu());
        copy(x.gpu.transpose(0, 1), turned.gpu, t.gpu());
        Twins::expect_equal(turned, "transposed copy");
      }
    }
  }
  const auto ids = t.ids(77, 1000, 6);
  const auto kept = t.of(std::vector<double>(77, -1), {77}, DType::kI32);
  copy(ids.cpu, kept.cpu, t.cpu());
  copy(ids.gpu, kept.gpu, t.gpu());
  Twins::expect_equal(kept, "i32");
  fill(kept.gpu, 7, t.gpu());
  EXPECT_EQ(to_vector<int32_t>(kept.gpu), std::vector<int32_t>(77, 7));
}

TEST(CudaRows, Activations) {
  constexpr ActivationKind kKinds[] = {
      ActivationKind::kGelu, ActivationKind::kGeluErf, ActivationKind::kRelu,  ActivationKind::kSquaredRelu,
      ActivationKind::kSilu, ActivationKind::kSwiglu,  ActivationKind::kGeglu,
  };
  for_each_case([&](Twins& t, DType dtype, const Shape& shape, Layout layout) {
    for (const ActivationKind kind : kKinds) {
      Shape wide = shape;
      if (is_gated(kind)) wide.set(-1, 2 * shape[-1]);
      const auto x = t.random(wide, dtype, 7, layout);
      scale_in_place(x.cpu, 6, t.cpu());  // tails too
      scale_in_place(x.gpu, 6, t.gpu());
      const auto d_y = t.random(shape, dtype, 8, layout);
      const auto y = t.poisoned(shape, dtype, layout);
      activation(kind, x.cpu, y.cpu, t.cpu());
      activation(kind, x.gpu, y.gpu, t.gpu());
      Twins::expect_close(y, 4, 36, "activation");
      const auto d_x = t.poisoned(wide, dtype, layout);
      activation_backward(kind, x.cpu, d_y.cpu, d_x.cpu, t.cpu());
      activation_backward(kind, x.gpu, d_y.gpu, d_x.gpu, t.gpu());
      Twins::expect_close(d_x, 4, 36, "activation_backward");
    }
  });
}

TEST(CudaRows, DropoutDrawsTheSameMask) {
  for_each_case([](Twins& t, DType dtype, const Shape& shape, Layout layout) {
    const auto x = t.random(shape, dtype, 9, layout);
    const auto y = t.poisoned(shape, dtype, layout);
    const RngKey rng{11, 12};
    dropout({.x = x.cpu, .y = y.cpu, .probability = 0.3, .rng = rng}, t.cpu());
    dropout({.x = x.gpu, .y = y.gpu, .probability = 0.3, .rng = rng}, t.gpu());
    Twins::expect_equal(y, "dropout");
  });
}

TEST(CudaRows, FillNormal) {
  Twins t;
  for (const DType dtype : kFloatTypes) {
    for (const int64_t first : {0, 5, 1000003}) {
      const auto x = t.poisoned({1003}, dtype);
      const RngKey rng{5, 6};
      fill_normal({.x = x.cpu, .mean = 0.5, .std = 2, .rng = rng, .first_element = first}, t.cpu());
      fill_normal({.x = x.gpu, .mean = 0.5, .std = 2, .rng = rng, .first_element = first}, t.gpu());
      // The deviate itself is rounded to f32 before it is scaled.
      conformance::expect_close(x.gpu, conformance::values_of(x.cpu),
                                {2 * conformance::unit_roundoff(dtype), 4 * 0x1p-22}, "fill_normal");
    }
  }
}

TEST(CudaRows, Norms) {
  std::vector<Shape> shapes = row_shapes();
  // Several rows to a block, or to a warp.
  shapes.insert(shapes.end(), {{2300, 64}, {2501, 128}, {3001, 200}, {2500, 256}, {300, 4096}, {150, 8192}});
  const auto compare = [](Twins& t, DType dtype, const Shape& shape, Layout layout) {
    for (const NormKind kind : {NormKind::kRmsNorm, NormKind::kLayerNorm}) {
      for (const bool has_residual : {false, true}) {
        const bool is_layer = kind == NormKind::kLayerNorm;
        const DType sums = sum_type(dtype);
        const Twins::Pair none;
        const auto x = t.random(shape, dtype, 13, layout);
        const auto residual = has_residual ? t.random(shape, dtype, 14, layout) : none;
        const auto sum = has_residual ? t.poisoned(shape, dtype, layout) : none;
        const auto weight = t.random({shape[1]}, dtype, 15);
        const auto bias = is_layer ? t.random({shape[1]}, dtype, 16) : none;
        const auto y = t.poisoned(shape, dtype, layout);
        const auto mean = is_layer ? t.poisoned({shape[0]}, sums) : none;
        const auto rstd = t.poisoned({shape[0]}, sums);
        // With one column LayerNorm divides by sqrt(eps) what is nothing but rounding.
        const double eps = 0.01;
        norm({.kind = kind,
              .x = x.cpu,
              .residual = residual.cpu,
              .weight = weight.cpu,
              .bias = bias.cpu,
              .eps = eps,
              .sum = sum.cpu,
              .y = y.cpu,
              .mean = mean.cpu,
              .rstd = rstd.cpu},
             t.cpu());
        norm({.kind = kind,
              .x = x.gpu,
              .residual = residual.gpu,
              .weight = weight.gpu,
              .bias = bias.gpu,
              .eps = eps,
              .sum = sum.gpu,
              .y = y.gpu,
              .mean = mean.gpu,
              .rstd = rstd.gpu},
             t.gpu());
        if (has_residual) Twins::expect_equal(sum, "sum");
        Twins::expect_close(rstd, shape[1], 10, "rstd");
        Twins::expect_close(y, shape[1], 4, "y");

        const auto d_y = t.random(shape, dtype, 17, layout);
        const auto d_sum = has_residual ? t.random(shape, dtype, 18, layout) : none;
        const auto d_x = t.poisoned(shape, dtype, layout);
        const auto d_weight = t.random({shape[1]}, sums, 19);
        const auto d_bias = is_layer ? t.random({shape[1]}, sums, 20) : none;
        const auto& input = has_residual ? sum : x;
        for (const bool accumulate : {true, false}) {
          norm_backward({.kind = kind,
                         .d_y = d_y.cpu,
                         .d_sum = d_sum.cpu,
                         .x = input.cpu,
                         .weight = weight.cpu,
                         .mean = mean.cpu,
                         .rstd = rstd.cpu,
                         .d_x = d_x.cpu,
                         .d_weight = d_weight.cpu,
                         .d_bias = d_bias.cpu,
                         .accumulate = accumulate},
                        t.cpu());
          norm_backward({.kind = kind,
                         .d_y = d_y.gpu,
                         .d_sum = d_sum.gpu,
                         .x = input.gpu,
                         .weight = weight.gpu,
                         .mean = mean.gpu,
                         .rstd = rstd.gpu,
                         .d_x = d_x.gpu,
                         .d_weight = d_weight.gpu,
                         .d_bias = d_bias.gpu,
                         .accumulate = accumulate},
                        t.gpu());
          Twins::expect_close(d_x, shape[1], 20, "d_x");
          Twins::expect_close(d_weight, shape[0] + 1, 20, "d_weight");
          if (is_layer) Twins::expect_close(d_bias, shape[0] + 1, 1, "d_bias");
        }
      }
    }
  };
  for_each_case(compare, shapes);
}

// Heads that stand side by side in wider rows, normed in place; what was there is kept.
TEST(CudaRows, NormsOfHeadsInPlace) {
  Twins t;
  constexpr int64_t kBefore = 2, kHeads = 5, kAfter = 3;
  for (const DType dtype : kFloatTypes) {
    for (const NormKind kind : {NormKind::kRmsNorm, NormKind::kLayerNorm}) {
      for (const auto& [tokens, cols] : {std::pair{7L, 128L},
                                         {600L, 128L},
                                         {601L, 64L},
                                         {600L, 256L},
                                         {600L, 40L},
                                         {600L, 50L},
                                         {500L, 320L},
                                         {30L, 1040L}}) {
        SCOPED_TRACE(fmt::format("{} {} x {}", name_of(dtype), tokens, cols));
        const bool is_layer = kind == NormKind::kLayerNorm;
        const Shape all{tokens, kBefore + kHeads + kAfter, cols}, heads{tokens, kHeads, cols};
        const int64_t rows = tokens * kHeads;
        const auto part = [](const Twins::Pair& pair) {
          return Twins::Pair{pair.cpu.slice(1, kBefore, kBefore + kHeads),
                             pair.gpu.slice(1, kBefore, kBefore + kHeads)};
        };
        const auto x = t.random(all, dtype, 1), d_y = t.random(all, dtype, 2);
        const auto weight = t.random({cols}, dtype, 3);
        const auto bias = is_layer ? t.random({cols}, dtype, 4) : Twins::Pair{};
        const auto kept = t.poisoned(heads, dtype);
        const auto rstd = t.poisoned({rows}, sum_type(dtype));
        const auto mean = is_layer ? t.poisoned({rows}, sum_type(dtype)) : Twins::Pair{};
        const auto d_weight = t.random({cols}, sum_type(dtype), 5);
        const auto d_bias = is_layer ? t.random({cols}, sum_type(dtype), 6) : Twins::Pair{};
        for (const bool on_gpu : {false, true}) {
          const auto of = [&](const Twins::Pair& pair) { return on_gpu ? pair.gpu : pair.cpu; };
          Exec& exec = on_gpu ? t.gpu() : t.cpu();
          norm({.kind = kind,
                .x = of(part(x)),
                .weight = of(weight),
                .bias = of(bias),
                .eps = 1e-3,
                .sum = of(kept),
                .y = of(part(x)),
                .mean = of(mean),
                .rstd = of(rstd)},
               exec);
          norm_backward({.kind = kind,
                         .d_y = of(part(d_y)),
                         .x = of(kept),
                         .weight = of(weight),
                         .mean = of(mean),
                         .rstd = of(rstd),
                         .d_x = of(part(d_y)),
                         .d_weight = of(d_weight),
                         .d_bias = of(d_bias),
                         .accumulate = true},
                        exec);
        }
        Twins::expect_equal(kept, "kept");
        Twins::expect_close(rstd, cols, 10, "rstd");
        Twins::expect_close(x, cols, 4, "x, of which some heads were normed");
        Twins::expect_close(d_y, cols, 20, "d_x");
        Twins::expect_close(d_weight, rows + 1, 20, "d_weight");
        if (is_layer) Twins::expect_close(d_bias, rows + 1, 1, "d_bias");
      }
    }
  }
}

TEST(CudaRows, ANormDoesNotDependOnTheOtherRows) {
  Twins t;
  for (const DType dtype : kFloatTypes) {
    for (const NormKind kind : {NormKind::kRmsNorm, NormKind::kLayerNorm}) {
      for (const int64_t cols : {48, 136, 512, 1000, 2048}) {
        SCOPED_TRACE(std::string(name_of(dtype)) + " " + std::to_string(cols));
        constexpr int64_t kMany = 3000, kFew = 50;
        const auto x = t.random({kMany, cols}, dtype, 1), weight = t.random({cols}, dtype, 2);
        const auto bias = kind == NormKind::kLayerNorm ? t.random({cols}, dtype, 3) : Twins::Pair{};
        const auto run = [&](int64_t rows) {
          const auto y = t.poisoned({rows, cols}, dtype);
          const auto rstd = t.poisoned({rows}, sum_type(dtype)), mean = t.poisoned({rows}, sum_type(dtype));
          norm({.kind = kind,
                .x = x.gpu.slice(0, 0, rows),
                .weight = weight.gpu,
                .bias = bias.gpu,
                .eps = 1e-5,
                .y = y.gpu,
                .mean = mean.gpu,
                .rstd = rstd.gpu},
               t.gpu());
          std::vector<double> result = to_vector<double>(y.gpu.slice(0, 0, kFew));
          const std::vector<double> statistics = to_vector<double>(rstd.gpu.slice(0, 0, kFew));
          result.insert(result.end(), statistics.begin(), statistics.end());
          return result;
        };
        EXPECT_EQ(run(kMany), run(kFew));
      }
    }
  }
}

TEST(CudaRows, Rope) {
  Twins t;
  for (const DType dtype : kFloatTypes) {
    for (const int64_t pairs : {3, 8, 32}) {
      for (const int64_t heads : {1, 3, 8}) {
        const int64_t width = 64 + (pairs == 3 ? 3 : 0), tokens = 21, positions = 50;
        const auto x = t.random({tokens, heads + 2, width}, dtype, 21);
        const auto cosine = t.random({positions, pairs}, sum_type(dtype), 22);
        const auto sine = t.random({positions, pairs}, sum_type(dtype), 23);
        const auto places = t.ids(tokens, positions, 24);
        for (const RopeDirection direction : {RopeDirection::kForward, RopeDirection::kBackward}) {
          rope({.x = x.cpu.slice(1, 0, heads),
                .cos = cosine.cpu,
                .sin = sine.cpu,
                .positions = places.cpu,
                .direction = direction},
               t.cpu());
          rope({.x = x.gpu.slice(1, 0, heads),
                .cos = cosine.gpu,
                .sin = sine.gpu,
                .positions = places.gpu,
                .direction = direction},
               t.gpu());
          Twins::expect_close(x, 2, 2, "rope");
        }
      }
    }
  }
}

}  // namespace
}  // namespace megalith
