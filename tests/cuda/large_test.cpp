// Tensors of more than 2^31 elements. What ops over rows leave in the first and the last rows is what they
// make of these rows alone; sums are of values whose sum is known.

#include <cmath>

#include <gtest/gtest.h>

#include "megalith/ops/activation.h"
#include "megalith/ops/adamw.h"
#include "megalith/ops/attention.h"
#include "megalith/ops/cross_entropy.h"
#include "megalith/ops/dropout.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/embedding.h"
#include "megalith/ops/gemm.h"
#include "megalith/ops/largest_column.h"
#include "megalith/ops/linear_swiglu.h"
#include "megalith/ops/norm.h"
#include "megalith/ops/random_fill.h"
#include "megalith/ops/rope.h"
#include "megalith/ops/row_map.h"
#include "megalith/ops/weighted_activation.h"

#include "tests/ops/conformance.h"

namespace megalith {
namespace {

constexpr DType kType = DType::kBF16;
constexpr int64_t kLimit = int64_t{1} << 31, kWidth = 2048, kRows = kLimit / kWidth + 640;

std::vector<std::byte> bytes_of(const Tensor& x) {
  std::vector<std::byte> staging;
  const std::span<const std::byte> bytes = bytes_on_host(x, staging);
  return {bytes.begin(), bytes.end()};
}

class CudaLarge : public ::testing::Test {
 protected:
  Exec& gpu() { return gpu_; }
  Tensor empty(const Shape& shape, DType dtype = kType) { return gpu_.empty(shape, dtype); }
  Tensor random(const Shape& shape, uint64_t seed, DType dtype = kType) {
    const Tensor x = empty(shape, dtype);
    fill_normal({.x = x, .rng = RngKey{seed, 1}}, gpu_);
    return x;
  }
  Tensor filled(const Shape& shape, double value, DType dtype = kType) {
    const Tensor x = empty(shape, dtype);
    fill(x, value, gpu_);
    return x;
  }
  Tensor counting(int64_t count, int64_t limit) {
    std::vector<int32_t> values(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(i)] = static_cast<int32_t>(i % limit);
    return gpu_.from_host(std::span<const int32_t>(values), {count});
  }

  /// `outs` are results of an op over rows; `call(begin, end, parts)` makes those of rows [begin, end) alone.
  template <class Call>
  void expect_rows(const std::vector<Tensor>& outs, const Call& call, int64_t part = 512) {
    const int64_t rows = outs[0].dim(0);
    for (const int64_t begin : {int64_t{0}, rows - part}) {
      std::vector<Tensor> parts, wholes;
      for (const Tensor& out : outs) {
        wholes.push_back(out.slice(0, begin, begin + part));
        parts.push_back(filled(wholes.back().shape(), NAN, out.dtype()));
      }
      call(begin, begin + part, parts);
      for (size_t i = 0; i < outs.size(); ++i)
        EXPECT_TRUE(bytes_of(wholes[i]) == bytes_of(parts[i])) << "result " << i << ", rows from " << begin;
    }
  }

 private:
  Exec gpu_{{.device = {DeviceKind::kCuda, 0}}};
};

TEST_F(CudaLarge, ElementByElement) {
  const Tensor a = random({kRows, kWidth}, 1), b = random({kRows, kWidth}, 2), out = empty(a.shape());
  expect_rows({a}, [&](int64_t begin, int64_t, const std::vector<Tensor>& parts) {
    fill_normal({.x = parts[0], .rng = RngKey{1, 1}, .first_element = begin * kWidth}, gpu());
  });
  add(a, b, out, gpu());
  expect_rows({out}, [&](int64_t begin, int64_t end, const std::vector<Tensor>& parts) {
    add(a.slice(0, begin, end), b.slice(0, begin, end), parts[0], gpu());
  });
  scale_in_place(out, 0.75, gpu());
  expect_rows({out}, [&](int64_t begin, int64_t end, const std::vector<Tensor>& parts) {
    add(a.slice(0, begin, end), b.slice(0, begin, end), parts[0], gpu());
    scale_in_place(parts[0], 0.75, gpu());
  });
  const Tensor factors = random({kRows}, 3, DType::kF32);
  scale_rows(a, factors, out, gpu());
  expect_rows({out}, [&](int64_t begin, int64_t end, const std::vector<Tensor>& parts) {
    scale_rows(a.slice(0, begin, end), factors.slice(0, begin, end), parts[0], gpu());
  });
  const Tensor wide = empty(a.shape(), DType::kF32);
  copy(a, wide, gpu());
  expect_rows({wide}, [&](int64_t begin, int64_t end, const std::vector<Tensor>& parts) {
    copy(a.slice(0, begin, end), parts[0], gpu());
  });
  const Tensor largest = empty({kRows}, DType::kI32);
  largest_column(a, largest, gpu());
  const std::vector<int32_t> whole = to_vector<int32_t>(largest.slice(0, kRows - 64, kRows));
  const Tensor tail = empty({64}, DType::kI32);
  largest_column(a.slice(0, kRows - 64, kRows), tail, gpu());
  EXPECT_EQ(to_vector<int32_t>(tail), whole);
}

// Elements that are 2^31 apart draw other words, and a rate is a rate there too.
TEST_F(CudaLarge, Dropout) {
  const Tensor ones = filled({kRows, kWidth}, 1), out = empty(ones.shape());
  dropout({.x = ones, .y = out, .probability = 0.25, .rng = RngKey{5, 6}}, gpu());
  const int64_t apart = kLimit / kWidth;
  const std::vector<double> low = to_vector<double>(out.slice(0, 0, 640)),
                            high = to_vector<double>(out.slice(0, apart, apart + 640));
  int64_t kept = 0, both = 0;
  for (size_t i = 0; i < high.size(); ++i) {
    kept += high[i] != 0;
    both += high[i] != 0 && low[i] != 0;
  }
  const auto count = static_cast<double>(high.size());
  EXPECT_NEAR(static_cast<double>(kept) / count, 0.75, 5 * std::sqrt(0.25 * 0.75 / count));
  EXPECT_NEAR(static_cast<double>(both) / count, 0.5625, 5 * std::sqrt(0.25 / count));
}

TEST_F(CudaLarge, Norms) {
  const Tensor x = random({kRows, kWidth}, 1), residual = random({kRows, kWidth}, 2),
               weight = random({kWidth}, 3), bias = random({kWidth}, 4);
  for (const NormKind kind : {NormKind::kRmsNorm, NormKind::kLayerNorm}) {
    const bool has_mean = kind == NormKind::kLayerNorm;
    const Tensor sum = empty(x.shape()), y = empty(x.shape()), rstd = empty({kRows}, DType::kF32),
                 mean = has_mean ? empty({kRows}, DType::kF32) : Tensor();
    NormArgs args{.kind = kind,
                  .x = x,
                  .residual = residual,
                  .weight = weight,
                  .bias = has_mean ? bias : Tensor(),
                  .sum = sum,
                  .y = y,
                  .mean = mean,
                  .rstd = rstd};
    norm(args, gpu());
    expect_rows({sum, y, rstd}, [&](int64_t begin, int64_t end, const std::vector<Tensor>& parts) {
      NormArgs part = args;
      part.x = x.slice(0, begin, end), part.residual = residual.slice(0, begin, end);
      part.sum = parts[0], part.y = parts[1], part.rstd = parts[2];
      if (has_mean) part.mean = empty({end - begin}, DType::kF32);
      norm(part, gpu());
    });
    const Tensor d_weight = filled({kWidth}, 0, DType::kF32);
    const NormBackwardArgs back{.kind = kind,
                                .d_y = residual,
                                .x = sum,
                                .weight = weight,
                                .mean = mean,
                                .rstd = rstd,
                                .d_x = y,
                                .d_weight = d_weight,
                                .d_bias = has_mean ? filled({kWidth}, 0, DType::kF32) : Tensor()};
    norm_backward(back, gpu());
    expect_rows({y}, [&](int64_t begin, int64_t end, const std::vector<Tensor>& parts) {
      NormBackwardArgs part = back;
      part.d_y = residual.slice(0, begin, end), part.x = sum.slice(0, begin, end);
      part.rstd = rstd.slice(0, begin, end), part.d_x = parts[0];
      if (has_mean) part.mean = mean.slice(0, begin, end);
      part.d_weight = filled({kWidth}, 0, DType::kF32);
      if (has_mean) part.d_bias = filled({kWidth}, 0, DType::kF32);
      norm_backward(part, gpu());
    });
  }
}

TEST_F(CudaLarge, RopeAndActivations) {
  {
    const Tensor x = random({kRows, 16, 128}, 1), turned = empty(x.shape());
    const Tensor cosine = random({4096, 64}, 2, DType::kF32), sine = random({4096, 64}, 3, DType::kF32);
    const Tensor positions = counting(kRows, 4096);
    copy(x, turned, gpu());
    rope({.x = turned, .cos = cosine, .sin = sine, .positions = positions}, gpu());
    expect_rows({turned}, [&](int64_t begin, int64_t end, const std::vector<Tensor>& parts) {
      copy(x.slice(0, begin, end), parts[0], gpu());
      rope({.x = parts[0], .cos = cosine, .sin = sine, .positions = positions.slice(0, begin, end)}, gpu());
    });
  }
  for (const ActivationKind kind : {ActivationKind::kGelu, ActivationKind::kSwiglu}) {
    const int64_t out_width = is_gated(kind) ? kWidth / 2 : kWidth;
    const Tensor x = random({kRows, kWidth}, 1), y = empty({kRows, out_width}), d_x = empty(x.shape());
    activation(kind, x, y, gpu());
    activation_backward(kind, x, y, d_x, gpu());
    expect_rows({y, d_x}, [&](int64_t begin, int64_t end, const std::vector<Tensor>& parts) {
      activation(kind, x.slice(0, begin, end), parts[0], gpu());
      activation_backward(kind, x.slice(0, begin, end), parts[0], parts[1], gpu());
    });
    if (!is_gated(kind)) continue;
    const Tensor weights = random({kRows, 1}, 4, DType::kF32);
    weighted_activation({.kind = kind, .x = x, .weights = weights, .y = y}, gpu());
    expect_rows({y}, [&](int64_t begin, int64_t end, const std::vector<Tensor>& parts) {
      weighted_activation(
          {.kind = kind, .x = x.slice(0, begin, end), .weights = weights.slice(0, begin, end), .y = parts[0]},
          gpu());
    });
  }
}

TEST_F(CudaLarge, LinearSwiglu) {
  constexpr int64_t kHidden = 128, kFfn = 4096, kTokens = kLimit / (2 * kFfn) + 640, kPart = 2048;
  const Tensor x = random({kTokens, kHidden}, 1), weight = random({2 * kFfn, kHidden}, 2),
               back = random({kHidden, kFfn}, 3);
  const Tensor pre = empty({kTokens, 2 * kFfn}), y = empty({kTokens, kFfn}), d_pre = empty(pre.shape());
  linear_swiglu({.x = x, .weight = weight, .pre = pre, .y = y}, gpu());
  swiglu_linear_backward_input({.d_out = x, .weight = back, .pre = pre, .d_pre = d_pre}, gpu());
  expect_rows(
      {pre, y, d_pre},
      [&](int64_t begin, int64_t end, const std::vector<Tensor>& parts) {
        const Tensor rows = x.slice(0, begin, end);
        linear_swiglu({.x = rows, .weight = weight, .pre = parts[0], .y = parts[1]}, gpu());
        swiglu_linear_backward_input({.d_out = rows, .weight = back, .pre = parts[0], .d_pre = parts[2]},
                                     gpu());
      },
      kPart);
}

TEST_F(CudaLarge, EmbeddingAndItsGradient) {
  const Tensor table = random({kRows, kWidth}, 1);
  std::vector<int32_t> last;
  for (int32_t i = 0; i < 512; ++i) last.push_back(static_cast<int32_t>(kRows) - 1 - i);
  const Tensor ids = gpu().from_host(std::span<const int32_t>(last), {512}), out = empty({512, kWidth});
  embedding({.ids = ids, .table = table, .out = out}, gpu());
  EXPECT_EQ(bytes_of(out.slice(0, 0, 1)), bytes_of(table.slice(0, kRows - 1, kRows)));
  EXPECT_EQ(bytes_of(out.slice(0, 511, 512)), bytes_of(table.slice(0, kRows - 512, kRows - 511)));

  const Tensor d_table = empty({kRows, kWidth}, DType::kF32);
  embedding_backward({.ids = ids, .d_out = out, .d_table = d_table, .accumulate = false}, gpu());
  EXPECT_EQ(to_vector<float>(d_table.slice(0, kRows - 512, kRows - 511)),
            to_vector<float>(out.slice(0, 511, 512)));
  EXPECT_EQ(to_vector<float>(d_table.slice(0, kRows - 514, kRows - 512)), std::vector<float>(2 * kWidth));

  // Each of eight rows is met as often as the others.
  const Tensor tokens = counting(kRows, 8), d_out = filled({kRows, kWidth}, 1),
               small = empty({8, kWidth}, DType::kF32);
  embedding_backward({.ids = tokens, .d_out = d_out, .d_table = small, .accumulate = false}, gpu());
  EXPECT_EQ(to_vector<float>(small), std::vector<float>(8 * kWidth, static_cast<float>(kRows / 8)));
}

TEST_F(CudaLarge, CrossEntropy) {
  constexpr int64_t kVocabulary = 131'072, kTokens = kLimit / kVocabulary + 1024;
  const Tensor logits = random({kTokens, kVocabulary}, 1), labels = counting(kTokens, kVocabulary),
               loss = empty({kTokens}, DType::kF32), d_logits = empty(logits.shape());
  cross_entropy({.logits = logits, .labels = labels, .loss = loss, .d_logits = d_logits}, gpu());
  expect_rows({loss, d_logits}, [&](int64_t begin, int64_t end, const std::vector<Tensor>& parts) {
    cross_entropy({.logits = logits.slice(0, begin, end),
                   .labels = labels.slice(0, begin, end),
                   .loss = parts[0],
                   .d_logits = parts[1]},
                  gpu());
  });
}

TEST_F(CudaLarge, Sums) {
  const double unit = std::ldexp(1.0, -10);
  const Tensor x = filled({kRows, kWidth}, unit), sums = empty({kWidth}, DType::kF32);
  sum_rows({.x = x, .out = sums}, gpu());
  EXPECT_EQ(to_vector<float>(sums), std::vector<float>(kWidth, static_cast<float>(kRows * unit)));

  const Tensor ones = filled({kRows, 64}, 1), gradient = empty({kWidth, 64}, DType::kF32);
  gemm({.a = x, .b = ones, .c = gradient, .transpose_a = Transpose::kYes}, gpu());
  EXPECT_EQ(to_vector<float>(gradient), std::vector<float>(kWidth * 64, static_cast<float>(kRows * unit)));

  const Tensor narrow = filled({kRows, 64}, 0.5), weight = filled({kWidth, 64}, 0.25);
  gemm({.a = narrow, .b = weight, .c = x, .transpose_b = Transpose::kYes}, gpu());
  for (const int64_t row : {int64_t{0}, kRows - 1})
    EXPECT_EQ(to_vector<float>(x.slice(0, row, row + 1)), std::vector<float>(kWidth, 8.0F)) << row;

  const Tensor flat = filled({kLimit + 1000}, 0.5, DType::kF32);
  EXPECT_EQ(sum_of_squares(flat, gpu()), 0.25 * static_cast<double>(kLimit + 1000));
}

TEST_F(CudaLarge, RowMaps) {
  std::vector<int32_t> turned(kRows);
  for (int64_t i = 0; i < kRows; ++i) turned[static_cast<size_t>(i)] = static_cast<int32_t>(kRows - 1 - i);
  const Tensor from = gpu().from_host(std::span<const int32_t>(turned), {kRows});
  const RowMap map{.from = from, .to = from.view({kRows, 1})};
  const Tensor x = random({kRows, kWidth}, 1), out = empty(x.shape());
  permute_rows(x, map, out, gpu());
  for (const int64_t row : {int64_t{0}, kRows - 1})
    EXPECT_EQ(bytes_of(out.slice(0, row, row + 1)), bytes_of(x.slice(0, kRows - 1 - row, kRows - row)));
  const Tensor back = empty(x.shape());
  combine_rows(out, map, back, gpu());
  for (const int64_t begin : {int64_t{0}, kRows - 64})
    EXPECT_EQ(bytes_of(back.slice(0, begin, begin + 64)), bytes_of(x.slice(0, begin, begin + 64)));
}

TEST_F(CudaLarge, AdamW) {
  constexpr int64_t kCount = kLimit + 1000, kPart = 4096;
  const auto state = [&](int64_t first, int64_t count) {
    const auto values = [&](uint64_t seed) {
      const Tensor x = empty({count}, DType::kF32);
      fill_normal({.x = x, .rng = RngKey{seed, 1}, .first_element = first}, gpu());
      return x;
    };
    return AdamwArgs{.param = empty({count}),
                     .master = values(1),
                     .grad = values(2),
                     .exp_avg = values(3),
                     .exp_avg_sq = filled({count}, 0.25, DType::kF32),
                     .lr = 1e-2,
                     .weight_decay = 0.1,
                     .step = 3};
  };
  const AdamwArgs whole = state(0, kCount), tail = state(kCount - kPart, kPart);
  adamw(whole, gpu());
  adamw(tail, gpu());
  for (Tensor AdamwArgs::*tensor :
       {&AdamwArgs::param, &AdamwArgs::master, &AdamwArgs::exp_avg, &AdamwArgs::exp_avg_sq})
    EXPECT_TRUE(bytes_of((whole.*tensor).slice(0, kCount - kPart, kCount)) == bytes_of(tail.*tensor));
}

// The last sequences of a large batch are those of a small one, also behind what cuDNN takes in one call.
TEST_F(CudaLarge, Attention) {
  constexpr int64_t kTokens = 4096, kHeads = 32, kGroups = 8, kDim = 128;
  constexpr int64_t kBatch = kLimit / (kTokens * kHeads * kDim) + 2;
  const Tensor q = random({kBatch, kTokens, kHeads, kDim}, 1),
               k = random({kBatch, kTokens, kGroups, kDim}, 2),
               v = random({kBatch, kTokens, kGroups, kDim}, 3);
  const auto results = [&](int64_t begin) {
    const auto part = [&](const Tensor& x) { return x.slice(0, begin, kBatch); };
    const int64_t batch = kBatch - begin;
    const AttentionArgs args{.q = part(q),
                             .k = part(k),
                             .v = part(v),
                             .scale = 1 / std::sqrt(static_cast<double>(kDim)),
                             .out = empty({batch, kTokens, kHeads, kDim}),
                             .lse = empty({batch, kHeads, kTokens}, DType::kF32)};
    attention(args, gpu());
    const AttentionBackwardArgs back{.forward = args,
                                     .d_out = part(q),
                                     .d_q = empty(args.q.shape()),
                                     .d_k = empty(args.k.shape()),
                                     .d_v = empty(args.v.shape())};
    attention_backward(back, gpu());
    std::vector<std::vector<double>> last;
    for (const Tensor& x : {args.out, back.d_q, back.d_k, back.d_v})
      last.push_back(to_vector<double>(x.slice(0, batch - 1, batch).slice(1, kTokens - 64, kTokens)));
    return last;
  };
  const auto whole = results(0), part = results(kBatch - 2);
  for (size_t i = 0; i < whole.size(); ++i) {
    double worst = 0, size = 0;
    for (size_t j = 0; j < whole[i].size(); ++j) {
      worst = std::max(worst, std::abs(whole[i][j] - part[i][j]));
      size = std::max(size, std::abs(part[i][j]));
    }
    EXPECT_GT(size, 0) << i;
    // The order of sums of a gradient may differ: roundings of bf16.
    EXPECT_LE(worst, 4 * conformance::unit_roundoff(kType) * size) << i;
  }
}

}  // namespace
}  // namespace megalith
