// Gradients of weights that are kept in bf16: the sums are those that are kept in f32, rounded once.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/ops/adamw.h"
#include "megalith/ops/attention_sink.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/embedding.h"
#include "megalith/ops/grouped_gemm.h"
#include "megalith/ops/norm.h"

#include "tests/ops/conformance.h"

namespace megalith {
namespace {

using namespace conformance;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr DType kBf16 = DType::kBF16, kF32 = DType::kF32;

// `write` writes a gradient of this shape, or adds to it, both in f32 and in bf16, from bf16 rows of `terms`
// terms each. The sums of a product may begin at either end.
void expect_rounded(const Shape& shape, int64_t terms, Exec& exec,
                    const std::function<void(const Tensor& gradient, bool accumulate)>& write) {
  for (const bool accumulate : {false, true}) {
    SCOPED_TRACE(accumulate ? "added" : "written");
    const auto start = [&](DType dtype) {
      if (!accumulate) return poisoned_tensor(exec, shape, dtype);
      return tensor_of(exec, values_of(random_tensor(exec, shape, kBf16, 9)), shape, dtype);
    };
    const Tensor whole = start(kF32), rounded = start(kBf16);
    write(whole, accumulate);
    write(rounded, accumulate);
    Tolerance allowed = tolerance(kF32, terms + 1);
    allowed.relative = unit_roundoff(kBf16);
    expect_close(rounded, values_of(whole), allowed, "bf16");
    EXPECT_NE(values_of(rounded), values_of(whole)) << "what is kept in f32 has more bits";
  }
}

void for_each_isa(const std::function<void(Exec&)>& body) {
  for (const Isa isa : available_isas()) {
    SCOPED_TRACE(name_of(isa));
    body(*make_exec(isa, 2));
  }
}

TEST(Bf16Gradients, OfNorms) {
  for_each_isa([](Exec& exec) {
    for (const NormKind kind : {NormKind::kRmsNorm, NormKind::kLayerNorm}) {
      for (const bool is_bias : {false, true}) {
        if (is_bias && kind == NormKind::kRmsNorm) continue;
        const Shape shape{301, 333};
        NormBackwardArgs args{.kind = kind,
                              .d_y = random_tensor(exec, shape, kBf16, 1),
                              .x = random_tensor(exec, shape, kBf16, 2),
                              .weight = random_tensor(exec, {333}, kBf16, 3),
                              .mean = random_tensor(exec, {301}, kF32, 4),
                              .rstd = random_tensor(exec, {301}, kF32, 5),
                              .d_x = poisoned_tensor(exec, shape, kBf16)};
        expect_rounded({333}, 301, exec, [&](const Tensor& gradient, bool accumulate) {
          (is_bias ? args.d_bias : args.d_weight) = gradient;
          args.accumulate = accumulate;
          norm_backward(args, exec);
        });
      }
    }
  });
}

TEST(Bf16Gradients, OfAttentionSinks) {
  for_each_isa([](Exec& exec) {
    const Shape shape{2, 50, 6, 16};
    const AttentionSinkArgs forward{.sink = random_tensor(exec, {6}, kBf16, 1),
                                    .out = random_tensor(exec, shape, kBf16, 2),
                                    .lse = random_tensor(exec, {2, 6, 50}, kF32, 3)};
    const Tensor d_out = random_tensor(exec, shape, kBf16, 4);
    expect_rounded({6}, 16 * 100, exec, [&](const Tensor& gradient, bool accumulate) {
      attention_sink_backward(
          {.forward = forward, .d_out = d_out, .d_sink = gradient, .accumulate = accumulate}, exec);
    });
  });
}

TEST(Bf16Gradients, OfBiases) {
  for_each_isa([](Exec& exec) {
    for (const Layout layout : kLayouts) {
      const Tensor x = random_tensor(exec, {777, 301}, kBf16, 1, layout);
      expect_rounded({301}, 777, exec, [&](const Tensor& gradient, bool accumulate) {
        sum_rows({.x = x, .out = gradient, .accumulate = accumulate}, exec);
      });
    }
  });
}

// An id that comes hundreds of times: rounded token by token, small terms would be lost.
TEST(Bf16Gradients, OfEmbeddings) {
  for_each_isa([](Exec& exec) {
    const Tensor ids = ids_tensor(exec, 2000, 5, 1), d_out = random_tensor(exec, {2000, 101}, kBf16, 2);
    expect_rounded({4, 101}, 2000, exec, [&](const Tensor& gradient, bool accumulate) {
      embedding_backward({.ids = ids,
                          .d_out = d_out,
                          .d_table = gradient,
                          .first_id = 1,
                          .num_ids = 5,
                          .accumulate = accumulate},
                         exec);
    });
  });
  expect_same_for_any_threads([](Exec& exec) {
    const Tensor d_table = exec.zeros({3, 101}, kBf16);
    embedding_backward({.ids = ids_tensor(exec, 2000, 3, 1),
                        .d_out = random_tensor(exec, {2000, 101}, kBf16, 2),
                        .d_table = d_table},
                       exec);
    return bits_of(d_table);
  });
}

// One block of the sum, and several.
TEST(Bf16Gradients, OfMatrices) {
  for_each_isa([](Exec& exec) {
    for (const int64_t tokens : {37, 3000}) {
      const Tensor d_y = random_tensor(exec, {tokens, 65}, kBf16, 1),
                   x = random_tensor(exec, {tokens, 83}, kBf16, 2);
      expect_rounded({65, 83}, tokens, exec, [&](const Tensor& gradient, bool accumulate) {
        gemm(
            {.a = d_y, .b = x, .c = gradient, .transpose_a = Transpose::kYes, .beta = accumulate ? 1.0 : 0.0},
            exec);
      });
    }
  });
}

TEST(Bf16Gradients, OfExperts) {
  for_each_isa([](Exec& exec) {
    const Tensor d_y = random_tensor(exec, {90, 24}, kBf16, 1), x = random_tensor(exec, {90, 40}, kBf16, 2);
    const Tensor offsets = tensor_of(exec, {0, 50, 90}, {3}, DType::kI32);
    expect_rounded({48, 40}, 90, exec, [&](const Tensor& gradient, bool accumulate) {
      const double beta = accumulate ? 1 : 0;
      grouped_weight_gradient({.d_y = d_y,
                               .x = x,
                               .offsets = offsets,
                               .d_weights = {gradient.slice(0, 0, 24), gradient.slice(0, 24, 48)},
                               .betas = {beta, beta}},
                              exec);
    });
  });
}

TEST(Bf16Gradients, AdamwAndTheNormReadThem) {
  for_each_isa([](Exec& exec) {
    for (const int64_t count : {0, 1, 37, 40001}) {
      const Tensor grad = random_tensor(exec, {count}, kBf16, 2);
      const Tensor same = tensor_of(exec, values_of(grad), {count}, kF32);
      const auto step = [&](const Tensor& gradient) {
        const AdamwArgs args{.param = poisoned_tensor(exec, {count}, kBf16),
                             .master = random_tensor(exec, {count}, kF32, 1),
                             .grad = gradient,
                             .exp_avg = random_tensor(exec, {count}, kF32, 3),
                             .exp_avg_sq = exec.zeros({count}, kF32),
                             .lr = 1e-2,
                             .weight_decay = 0.1,
                             .grad_scale = 0.25,
                             .step = 2};
        adamw(args, exec);
        return std::vector{bits_of(args.param), bits_of(args.master), bits_of(args.exp_avg),
                           bits_of(args.exp_avg_sq)};
      };
      EXPECT_EQ(step(grad), step(same)) << count;
      const double expected = sum_of_squares(same, exec);
      EXPECT_NEAR(sum_of_squares(grad, exec), expected, 1e-13 * expected) << count;
    }
  });
}

TEST(Bf16Gradients, OfOtherRowsAreRefused) {
  Exec exec;
  const auto zeros = [&](const Shape& shape, DType dtype) { return exec.zeros(shape, dtype); };
  EXPECT_THAT(
      [&] {
        sum_rows({.x = zeros({2, 3}, kF32), .out = zeros({3}, kBf16)}, exec);
      },
      ThrowsMessage<Error>(HasSubstr("sum_rows: out is bf16, not f32")));
  EXPECT_THAT(
      [&] {
        sum_rows({.x = zeros({2, 3}, DType::kF16), .out = zeros({3}, kBf16)}, exec);
      },
      ThrowsMessage<Error>(HasSubstr("sum_rows: out is bf16, not f32")));
  EXPECT_THAT(
      [&] {
        adamw({.param = zeros({4}, DType::kF16),
               .master = zeros({4}, kF32),
               .grad = zeros({4}, kBf16),
               .exp_avg = zeros({4}, kF32),
               .exp_avg_sq = zeros({4}, kF32)},
              exec);
      },
      ThrowsMessage<Error>(HasSubstr("adamw: grad is bf16, not f32")));
  EXPECT_THAT(
      [&] {
        const Tensor rows = zeros({2, 4}, kBf16);
        norm_backward({.kind = NormKind::kLayerNorm,
                       .d_y = rows,
                       .x = rows,
                       .weight = zeros({4}, kBf16),
                       .mean = zeros({2}, kF32),
                       .rstd = zeros({2}, kF32),
                       .d_x = zeros({2, 4}, kBf16),
                       .d_weight = zeros({4}, kBf16),
                       .d_bias = zeros({4}, kF32)},
                      exec);
      },
      ThrowsMessage<Error>(HasSubstr("d_weight is bf16, d_bias is f32")));
}

}  // namespace
}  // namespace megalith
