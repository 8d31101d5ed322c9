#include "megalith/ops/attention.h"

#include <cmath>
#include <cstdio>

#include <gtest/gtest.h>

#include "tests/ops/conformance.h"
#include "tests/ops/performance.h"

namespace megalith {
namespace {

using namespace conformance;

/// kLimits: a first and a last key for each query, as ranks that share a packed row see it.
enum class Mask { kNone, kCausal, kDocuments, kLimits };

struct Case {
  int64_t batch, queries, keys, heads, kv_heads, head_dim;
  Mask mask = Mask::kCausal;
  double dropout = 0;
  int64_t window = -1;
  int64_t key_gap = 0;

  std::string name() const {
    return fmt::format("[B {}, S {} of {}, N {} of {}, D {}], mask {}, dropout {}, window {}, gap {}", batch,
                       queries, keys, heads, kv_heads, head_dim, static_cast<int>(mask), dropout, window,
                       key_gap);
  }
  Shape q_shape() const { return {batch, queries, heads, head_dim}; }
  Shape kv_shape() const { return {batch, keys, kv_heads, head_dim}; }
  int64_t place(int64_t query) const { return query + keys - queries + key_gap; }
  int64_t first_key(int64_t b, int64_t query) const {
    constexpr int64_t kDocumentLength = 23;
    if (mask == Mask::kLimits) return (3 * query + b) % keys;
    return mask == Mask::kDocuments
               ? std::max<int64_t>(0, (place(query) + b) / kDocumentLength * kDocumentLength - b)
               : 0;
  }
  // Every fifth query sees nothing.
  int64_t end_key(int64_t b, int64_t query) const {
    return query % 5 == 4 ? 0 : std::min(keys, first_key(b, query) + 1 + query % 90);
  }
  struct Keys {
    int64_t begin, end;
  };
  Keys visible(int64_t b, int64_t query) const {
    Keys seen{first_key(b, query), keys};
    if (mask == Mask::kCausal || mask == Mask::kDocuments) seen.end = std::min(keys, place(query) + 1);
    if (mask == Mask::kLimits) seen.end = end_key(b, query);
    if (window >= 0) seen.begin = std::max(seen.begin, place(query) - window);
    return seen;
  }
};

DType lse_dtype(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

// Row-major [batch, tokens, heads, head_dim].
struct Grid {
  std::vector<double> values;
  int64_t tokens, heads, head_dim;
  double* at(int64_t b, int64_t token, int64_t head) {
    return values.data() + ((b * tokens + token) * heads + head) * head_dim;
  }
};

struct Results {
  Grid out, d_q, d_k, d_v;
  std::vector<double> lse;
};

double dot(const double* a, const double* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

void add(double* to, double factor, const double* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += factor * from[i];
}

Grid grid_of(const Tensor& tensor) {
  return {values_of(tensor), tensor.dim(1), tensor.dim(2), tensor.dim(3)};
}

Grid zeros_like(const Grid& grid) {
  return {std::vector<double>(grid.values.size(), 0.0), grid.tokens, grid.heads, grid.head_dim};
}

// The definition, one query at a time.
Results reference(const Case& c, const AttentionArgs& args, const Tensor& d_out_tensor) {
  Grid q = grid_of(args.q);
  Grid k = grid_of(args.k);
  Grid v = grid_of(args.v);
  Grid d_out = grid_of(d_out_tensor);
  Results r{zeros_like(q), zeros_like(q), zeros_like(k), zeros_like(v), {}};
  for (int64_t b = 0; b < c.batch; ++b) {
    for (int64_t n = 0; n < c.heads; ++n) {
      const int64_t kv = n / (c.heads / c.kv_heads);
      for (int64_t i = 0; i < c.queries; ++i) {
        const auto [begin, end] = c.visible(b, i);
        double total = 0;
        for (int64_t j = begin; j < end; ++j)
          total += std::exp(args.scale * dot(q.at(b, i, n), k.at(b, j, kv), c.head_dim));
        r.lse.push_back(std::log(total));
        std::vector<double> weights, kept, d_weights;
        double delta = 0;
        for (int64_t j = begin; j < end; ++j) {
          const auto row = static_cast<uint64_t>((b * c.heads + n) * c.queries + i);
          const uint32_t word =
              args.rng.bits(row * static_cast<uint64_t>((c.keys + 3) / 4 * 4) + static_cast<uint64_t>(j));
          kept.push_back(uniform_from_bits(word) < static_cast<float>(c.dropout) ? 0 : 1 / (1 - c.dropout));
          weights.push_back(std::exp(args.scale * dot(q.at(b, i, n), k.at(b, j, kv), c.head_dim)) / total);
          add(r.out.at(b, i, n), weights.back() * kept.back(), v.at(b, j, kv), c.head_dim);
          add(r.d_v.at(b, j, kv), weights.back() * kept.back(), d_out.at(b, i, n), c.head_dim);
          d_weights.push_back(kept.back() * dot(d_out.at(b, i, n), v.at(b, j, kv), c.head_dim));
          delta += weights.back() * d_weights.back();
        }
        for (int64_t j = begin; j < end; ++j) {
          const auto index = static_cast<size_t>(j - begin);
          const double d_score = args.scale * weights[index] * (d_weights[index] - delta);
          add(r.d_q.at(b, i, n), d_score, k.at(b, j, kv), c.head_dim);
          add(r.d_k.at(b, j, kv), d_score, q.at(b, i, n), c.head_dim);
        }
      }
    }
  }
  return r;
}

// q, k and v as slices of fused rows [B, S, N + 2 K, D] where their lengths allow it.
AttentionArgs make_args(const Case& c, DType dtype, Exec& exec) {
  AttentionArgs args{.scale = 1 / std::sqrt(static_cast<double>(c.head_dim)),
                     .is_causal = c.mask == Mask::kCausal || c.mask == Mask::kDocuments,
                     .window = c.window,
                     .key_gap = c.key_gap};
  if (c.queries == c.keys) {
    const Tensor fused =
        random_tensor(exec, {c.batch, c.queries, c.heads + 2 * c.kv_heads, c.head_dim}, dtype, 1);
    args.q = fused.slice(2, 0, c.heads);
    args.k = fused.slice(2, c.heads, c.heads + c.kv_heads);
    args.v = fused.slice(2, c.heads + c.kv_heads, c.heads + 2 * c.kv_heads);
  } else {
    args.q = random_tensor(exec, c.q_shape(), dtype, 1);
    args.k = random_tensor(exec, c.kv_shape(), dtype, 2);
    args.v = random_tensor(exec, c.kv_shape(), dtype, 3);
  }
  const auto limits = [&](int64_t (Case::*of)(int64_t, int64_t) const) {
    std::vector<int32_t> values;
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t i = 0; i < c.queries; ++i) values.push_back(static_cast<int32_t>((c.*of)(b, i)));
    return exec.from_host<int32_t>(values, {c.batch, c.queries});
  };
  if (c.mask == Mask::kDocuments || c.mask == Mask::kLimits) args.first_key = limits(&Case::first_key);
  if (c.mask == Mask::kLimits) args.end_key = limits(&Case::end_key);
  args.dropout = c.dropout;
  args.rng = exec.rng().fold("attention test");
  args.out = poisoned_tensor(exec, c.q_shape(), dtype);
  args.lse = poisoned_tensor(exec, {c.batch, c.heads, c.queries}, lse_dtype(dtype));
  return args;
}

AttentionBackwardArgs make_backward(const Case& c, const AttentionArgs& forward, DType dtype, Exec& exec) {
  return {.forward = forward,
          .d_out = random_tensor(exec, c.q_shape(), dtype, 4),
          .d_q = poisoned_tensor(exec, c.q_shape(), dtype, Layout::kPaddedRows),
          .d_k = poisoned_tensor(exec, c.kv_shape(), dtype, Layout::kPaddedRows),
          .d_v = poisoned_tensor(exec, c.kv_shape(), dtype, Layout::kPaddedRows)};
}

// Sums over keys are means; those of d_k and d_v run over the queries of a group with weights below 1. The
// backward of bf16 and f16 starts from a rounded `out`: delta is off by up to head_dim roundings.
Tolerance backward_tolerance(const Case& c, DType dtype) {
  Tolerance allowed = tolerance(dtype, c.keys + c.queries * c.heads / c.kv_heads, std::sqrt(c.head_dim));
  if (size_of(dtype) == 2) allowed.absolute += 4 * unit_roundoff(dtype) * std::sqrt(c.head_dim);
  return allowed;
}

const Case kCases[] = {
    {2, 37, 37, 4, 2, 32},
    {1, 300, 300, 2, 2, 40, Mask::kDocuments},
    {1, 300, 300, 2, 1, 16, Mask::kDocuments, 0.25},
    {1, 40, 333, 2, 1, 64},
    {1, 65, 129, 2, 1, 5, Mask::kNone},
    {1, 65, 65, 3, 3, 130, Mask::kNone, 0.5},
    {2, 1, 600, 4, 2, 32},
    {2, 1, 70, 4, 2, 20, Mask::kDocuments, 0.25},
    {1, 3, 9, 4, 2, 16},
    {1, 1, 1, 1, 1, 1},
    {0, 5, 5, 2, 1, 8},
    {2, 150, 270, 2, 1, 8, Mask::kLimits},
    {1, 40, 290, 2, 2, 8, Mask::kLimits, 0.25},
    {2, 3, 300, 2, 1, 16, Mask::kLimits},
    {1, 290, 290, 2, 1, 8, Mask::kCausal, 0, 40},
    {1, 70, 290, 1, 1, 8, Mask::kDocuments, 0.25, 10},
    {1, 35, 300, 2, 1, 8, Mask::kCausal, 0, 0},
    {2, 1, 600, 4, 2, 8, Mask::kCausal, 0, 70},
    {1, 50, 50, 2, 1, 8, Mask::kCausal, 0, 60, 50},
    {1, 50, 50, 2, 1, 8, Mask::kCausal, 0, 10, 50},
    {1, 40, 40, 2, 1, 8, Mask::kNone, 0, 30, 0},
};

TEST(Attention, MatchesTheDefinition) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(c.name());
      const AttentionArgs args = make_args(c, dtype, exec);
      const AttentionBackwardArgs backward = make_backward(c, args, dtype, exec);
      const Results expected = reference(c, args, backward.d_out);
      attention(args, exec);
      const double kept_scale = 1 / (1 - c.dropout);
      expect_close(args.out, expected.out.values, tolerance(dtype, c.keys + c.head_dim, kept_scale), "out");
      expect_close(args.lse, expected.lse, tolerance(lse_dtype(dtype), c.head_dim, 8), "lse");
      attention_backward(backward, exec);
      const Tolerance allowed = backward_tolerance(c, dtype);
      expect_close(backward.d_q, expected.d_q.values, allowed, "d_q");
      expect_close(backward.d_k, expected.d_k.values, allowed, "d_k");
      expect_close(backward.d_v, expected.d_v.values, allowed, "d_v");
    }
  });
}

TEST(Attention, GradientIsThatOfTheForward) {
  Exec exec({.num_threads = 1});
  for (const Case& c : {Case{2, 9, 9, 4, 2, 6}, Case{1, 5, 11, 2, 1, 8, Mask::kNone, 0.3},
                        Case{1, 33, 33, 1, 1, 3, Mask::kDocuments}}) {
    SCOPED_TRACE(c.name());
    const AttentionArgs args = make_args(c, DType::kF64, exec);
    attention(args, exec);
    const AttentionBackwardArgs backward = make_backward(c, args, DType::kF64, exec);
    attention_backward(backward, exec);
    const std::vector<double> projection = values_of(backward.d_out);
    const auto check = [&](Tensor AttentionArgs::*input, const Tensor& gradient, const char* what) {
      const Tensor original = args.*input;
      const auto loss = [&](const std::vector<double>& values) {
        AttentionArgs moved = args;
        moved.*input = tensor_of(exec, values, original.shape(), DType::kF64);
        moved.out = exec.empty(c.q_shape(), DType::kF64);
        attention(moved, exec);
        return conformance::dot(values_of(moved.out), projection);
      };
      expect_gradient(loss, values_of(original), values_of(gradient), what);
    };
    check(&AttentionArgs::q, backward.d_q, "d_q");
    check(&AttentionArgs::k, backward.d_k, "d_k");
    check(&AttentionArgs::v, backward.d_v, "d_v");
  }
}

TEST(Attention, QueryThatSeesNoKey) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const int64_t queries : {1, 20}) {
      const Case c{1, queries, queries, 1, 1, 8};
      AttentionArgs args = make_args(c, dtype, exec);
      std::vector<int32_t> first_keys(static_cast<size_t>(queries), 0);
      first_keys.back() = static_cast<int32_t>(queries);
      args.first_key = exec.from_host<int32_t>(first_keys, {1, queries});
      attention(args, exec);
      const AttentionBackwardArgs backward = make_backward(c, args, dtype, exec);
      attention_backward(backward, exec);
      for (int64_t d = 0; d < 8; ++d) {
        EXPECT_EQ(values_of(args.out)[static_cast<size_t>((queries - 1) * 8 + d)], 0);
        EXPECT_EQ(values_of(backward.d_q)[static_cast<size_t>((queries - 1) * 8 + d)], 0);
      }
      EXPECT_EQ(values_of(args.lse).back(), -std::numeric_limits<double>::infinity());
      for (const double value : values_of(backward.d_k)) EXPECT_TRUE(std::isfinite(value));
    }
  });
}

// Scores of 400 and more overflow exp() unless the largest is taken out.
TEST(Attention, LargeScores) {
  for_each_variant([](DType dtype, Exec& exec) {
    const Case c{1, 12, 12, 1, 1, 16};
    AttentionArgs args = make_args(c, dtype, exec);
    args.scale = 400;
    const AttentionBackwardArgs backward = make_backward(c, args, dtype, exec);
    attention(args, exec);
    attention_backward(backward, exec);
    for (const Tensor& tensor : {args.out, args.lse, backward.d_q, backward.d_k, backward.d_v})
      for (const double value : values_of(tensor)) ASSERT_TRUE(std::isfinite(value));
  });
}

TEST(Attention, CachedDecodeEqualsTheWholeSequence) {
  for_each_variant([](DType dtype, Exec& exec) {
    const Case whole{2, 40, 40, 4, 2, 24};
    const AttentionArgs args = make_args(whole, dtype, exec);
    attention(args, exec);
    for (const int64_t count : {1, 2, 15}) {
      AttentionArgs last = args;
      last.q = args.q.slice(1, 40 - count, 40);
      last.out = poisoned_tensor(exec, {2, count, 4, 24}, dtype);
      last.lse = {};
      attention(last, exec);
      expect_close(last.out, values_of(args.out.slice(1, 40 - count, 40)), tolerance(dtype, 40),
                   fmt::format("the last {} queries", count));
    }
  });
}

TEST(Attention, SameBitsForAnyNumberOfThreads) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const Case& c : {Case{2, 300, 300, 4, 2, 32, Mask::kCausal, 0.1}, Case{3, 1, 700, 4, 2, 32}}) {
      expect_same_for_any_threads([&](Exec& exec) {
        const AttentionArgs args = make_args(c, dtype, exec);
        attention(args, exec);
        const AttentionBackwardArgs backward = make_backward(c, args, dtype, exec);
        attention_backward(backward, exec);
        std::vector<uint8_t> bits;
        for (const Tensor& tensor : {args.out, args.lse, backward.d_q, backward.d_k, backward.d_v}) {
          const std::vector<uint8_t> more = bits_of(tensor);
          bits.insert(bits.end(), more.begin(), more.end());
        }
        return bits;
      });
    }
  }
}

TEST(Attention, RefusesWhatDoesNotFit) {
  Exec exec;
  const Case c{1, 4, 6, 4, 2, 8};
  const auto refuses = [&](const std::function<void(AttentionArgs&)>& change) {
    AttentionArgs args = make_args(c, DType::kF32, exec);
    change(args);
    EXPECT_THROW(attention(args, exec), Error);
  };
  refuses([&](AttentionArgs& args) { args.q = {}; });
  refuses([&](AttentionArgs& args) { args.k = exec.zeros({1, 6, 3, 8}, DType::kF32); });
  refuses([&](AttentionArgs& args) { args.v = exec.zeros({1, 5, 2, 8}, DType::kF32); });
  refuses([&](AttentionArgs& args) { args.out = exec.zeros(c.q_shape(), DType::kBF16); });
  refuses([&](AttentionArgs& args) { args.lse = exec.zeros({1, 4}, DType::kF32); });
  refuses([&](AttentionArgs& args) { args.dropout = 1; });
  refuses([&](AttentionArgs& args) { args.q = exec.zeros({1, 7, 4, 8}, DType::kF32), args.out = args.q; });
  refuses([&](AttentionArgs& args) { args.first_key = exec.zeros({1, 3}, DType::kI32); });
  AttentionArgs args = make_args(c, DType::kF32, exec);
  args.lse = {};
  EXPECT_THROW(attention_backward(make_backward(c, args, DType::kF32, exec), exec), Error);
}

TEST(AttentionPerformance, TrainingAndDecode) {
  if (!performance_wanted()) GTEST_SKIP() << "MEGALITH_PERF=1 runs it";
  Exec exec;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const Case& c :
         {Case{16, 256, 256, 8, 8, 32}, Case{4, 256, 256, 12, 12, 64}, Case{1, 2048, 2048, 8, 2, 128}}) {
      const AttentionArgs args = make_args(c, dtype, exec);
      const AttentionBackwardArgs backward = make_backward(c, args, dtype, exec);
      const double forward_seconds = measure_seconds([&] { attention(args, exec); });
      const double backward_seconds = measure_seconds([&] { attention_backward(backward, exec); });
      // Two products of the visible half of the scores forward, five backward.
      const double gigaflops =
          2e-9 * static_cast<double>(c.batch * c.heads * c.queries * c.keys * c.head_dim);
      std::printf("attention %s %-52s forward %8.2f ms %6.1f GFLOP/s, backward %8.2f ms %6.1f GFLOP/s\n",
                  name_of(dtype), c.name().c_str(), forward_seconds * 1e3, gigaflops / forward_seconds,
                  backward_seconds * 1e3, 2.5 * gigaflops / backward_seconds);
    }
    for (const Case& c : {Case{1, 1, 4096, 32, 8, 128}, Case{8, 1, 2048, 12, 12, 64}}) {
      const AttentionArgs args = make_args(c, dtype, exec);
      report_bandwidth(fmt::format("attention {} {}", name_of(dtype), c.name()), 2 * args.k.nbytes(),
                       exec.num_threads(), [&] { attention(args, exec); });
    }
  }
}

}  // namespace
}  // namespace megalith
