#include "megalith/ops/attention_sink.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "megalith/ops/attention.h"
#include "megalith/ops/elementwise.h"

#include "tests/ops/conformance.h"

namespace megalith {
namespace {

using namespace conformance;

DType lse_dtype(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

struct Case {
  int64_t batch, seq, heads, kv_heads, dim;
  int64_t window = -1;
  double dropout = 0;
  bool has_documents = false;  // the last query of the first sequence sees nothing

  std::string name() const {
    return fmt::format("[B {}, S {}, N {} of {}, D {}], window {}, dropout {}, documents {}", batch, seq,
                       heads, kv_heads, dim, window, dropout, has_documents);
  }
};

// Attention with a sink, forward and backward.
struct SinkRun {
  AttentionArgs attention;
  AttentionSinkArgs sink;
  Tensor d_out, d_q, d_k, d_v, d_sink;

  SinkRun(const Case& c, DType dtype, Exec& exec) {
    const Shape q{c.batch, c.seq, c.heads, c.dim}, kv{c.batch, c.seq, c.kv_heads, c.dim};
    attention = {.q = random_tensor(exec, q, dtype, 1),
                 .k = random_tensor(exec, kv, dtype, 2),
                 .v = random_tensor(exec, kv, dtype, 3),
                 .scale = 1.7,
                 .window = c.window,
                 .dropout = c.dropout,
                 .rng = exec.rng().fold("sink test"),
                 .out = poisoned_tensor(exec, q, dtype, Layout::kPaddedRows),
                 .lse = poisoned_tensor(exec, {c.batch, c.heads, c.seq}, lse_dtype(dtype))};
    if (c.has_documents) {
      std::vector<int32_t> first;
      for (int64_t i = 0; i < c.batch * c.seq; ++i) first.push_back(static_cast<int32_t>(i % c.seq / 7 * 7));
      first[static_cast<size_t>(c.seq) - 1] = static_cast<int32_t>(c.seq);
      attention.first_key = exec.from_host<int32_t>(first, {c.batch, c.seq});
    }
    std::vector<double> scores;
    for (int64_t head = 0; head < c.heads; ++head)
      scores.push_back(1.5 * std::sin(1.0 + 2.0 * static_cast<double>(head)));
    sink = {.sink = tensor_of(exec, scores, {c.heads}, dtype), .out = attention.out, .lse = attention.lse};
    d_out = random_tensor(exec, q, dtype, 4, Layout::kPaddedRows);
    d_q = poisoned_tensor(exec, q, dtype);
    d_k = poisoned_tensor(exec, kv, dtype);
    d_v = poisoned_tensor(exec, kv, dtype);
    d_sink = poisoned_tensor(exec, {c.heads}, lse_dtype(dtype));
  }
  void forward(Exec& exec) {
    megalith::attention(attention, exec);
    attention_sink(sink, exec);
  }
  void backward(Exec& exec) {
    attention_backward({.forward = attention, .d_out = d_out, .d_q = d_q, .d_k = d_k, .d_v = d_v}, exec);
    attention_sink_backward({.forward = sink, .d_out = d_out, .d_sink = d_sink}, exec);
  }
};

// x [B, S, heads, D] with one more column, and `front` before the first token of each sequence where given;
// heads of keys one for each query head.
Tensor extended(const Tensor& x, int64_t heads, double column, const std::vector<double>& front, Exec& exec) {
  const std::vector<double> from = values_of(x);
  const int64_t seq = x.dim(1), dim = x.dim(3), share = heads / x.dim(2);
  std::vector<double> values;
  for (int64_t b = 0; b < x.dim(0); ++b) {
    for (int64_t head = 0; head < (front.empty() ? 0 : heads); ++head) {
      values.resize(values.size() + static_cast<size_t>(dim), 0.0);
      values.push_back(front[static_cast<size_t>(head)]);
    }
    for (int64_t s = 0; s < seq; ++s) {
      for (int64_t head = 0; head < heads; ++head) {
        const double* row = from.data() + ((b * seq + s) * x.dim(2) + head / share) * dim;
        values.insert(values.end(), row, row + dim);
        values.push_back(column);
      }
    }
  }
  return tensor_of(exec, values, {x.dim(0), seq + (front.empty() ? 0 : 1), heads, dim + 1}, DType::kF64);
}

// The sum over the query heads of each key head, without what `extended` added.
std::vector<double> shortened(const Tensor& x, int64_t kv_heads, int64_t front) {
  const std::vector<double> from = values_of(x);
  const int64_t seq = x.dim(1), heads = x.dim(2), dim = x.dim(3) - 1, share = heads / kv_heads;
  std::vector<double> values(static_cast<size_t>(x.dim(0) * (seq - front) * kv_heads * dim), 0.0);
  for (int64_t b = 0; b < x.dim(0); ++b)
    for (int64_t s = front; s < seq; ++s)
      for (int64_t head = 0; head < heads; ++head)
        for (int64_t d = 0; d < dim; ++d)
          values[static_cast<size_t>(((b * (seq - front) + s - front) * kv_heads + head / share) * dim +
                                     d)] +=
              from[static_cast<size_t>(((b * seq + s) * heads + head) * (dim + 1) + d)];
  return values;
}

// A key before the first one, which every causal query sees: 0 but for a column of its own, in which all
// queries are 1 and all other keys 0.
TEST(AttentionSink, IsOneMoreKeyOfValueZero) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const Case& c : {Case{2, 37, 4, 2, 16}, Case{1, 300, 2, 2, 5}, Case{3, 1, 3, 3, 8}}) {
      SCOPED_TRACE(c.name());
      SinkRun run(c, dtype, exec);
      run.forward(exec);
      run.backward(exec);
      const std::vector<double> none(static_cast<size_t>(c.heads), 0.0);
      std::vector<double> scores = values_of(run.sink.sink);
      for (double& score : scores) score /= run.attention.scale;
      AttentionArgs wide = run.attention;
      wide.q = extended(run.attention.q, c.heads, 1, {}, exec);
      wide.k = extended(run.attention.k, c.heads, 0, scores, exec);
      wide.v = extended(run.attention.v, c.heads, 0, none, exec);
      wide.out = exec.empty(wide.q.shape(), DType::kF64);
      wide.lse = exec.empty({c.batch, c.heads, c.seq}, DType::kF64);
      attention(wide, exec);
      const AttentionBackwardArgs backward{.forward = wide,
                                           .d_out = extended(run.d_out, c.heads, 0, {}, exec),
                                           .d_q = exec.empty(wide.q.shape(), DType::kF64),
                                           .d_k = exec.empty(wide.k.shape(), DType::kF64),
                                           .d_v = exec.empty(wide.k.shape(), DType::kF64)};
      attention_backward(backward, exec);
      std::vector<double> d_sink(static_cast<size_t>(c.heads), 0.0);
      const std::vector<double> d_key = values_of(backward.d_k.slice(1, 0, 1).slice(3, c.dim, c.dim + 1));
      for (size_t i = 0; i < d_key.size(); ++i) d_sink[i % d_sink.size()] += d_key[i] / run.attention.scale;

      Tolerance out = tolerance(dtype, c.seq + c.dim), gradient = tolerance(dtype, c.seq * 2, 4);
      if (size_of(dtype) == 2) {  // `out` is rounded twice, and the backward starts from it
        out.absolute += 2 * unit_roundoff(dtype);
        gradient.absolute += 16 * unit_roundoff(dtype) * std::sqrt(c.dim);
      }
      expect_close(run.attention.out, shortened(wide.out, c.heads, 0), out, "out");
      expect_close(run.attention.lse, values_of(wide.lse), tolerance(lse_dtype(dtype), c.dim, 8), "lse");
      expect_close(run.d_q, shortened(backward.d_q, c.heads, 0), gradient, "d_q");
      expect_close(run.d_k, shortened(backward.d_k, c.kv_heads, 1), gradient, "d_k");
      expect_close(run.d_v, shortened(backward.d_v, c.kv_heads, 1), gradient, "d_v");
      Tolerance sum = tolerance(lse_dtype(dtype), c.batch * c.seq * c.dim);
      if (size_of(dtype) == 2)  // of as many rounded terms
        sum.absolute += 4 * unit_roundoff(dtype) * std::sqrt(static_cast<double>(c.batch * c.seq * c.dim));
      expect_close(run.d_sink, d_sink, sum, "d_sink");
    }
  });
}

TEST(AttentionSink, GradientsAreThoseOfTheForward) {
  Exec exec({.num_threads = 1});
  for (const Case& c : {Case{2, 9, 4, 2, 6}, Case{1, 12, 2, 1, 5, 3}, Case{2, 16, 2, 2, 4, -1, 0.3},
                        Case{2, 20, 3, 1, 4, 5, 0.2, true}}) {
    SCOPED_TRACE(c.name());
    SinkRun run(c, DType::kF64, exec);
    run.forward(exec);
    run.backward(exec);
    const std::vector<double> projection = values_of(run.d_out);
    const auto check = [&](Tensor& input, const Tensor& gradient, const char* what) {
      const Tensor original = input;
      const auto loss = [&](const std::vector<double>& values) {
        input = tensor_of(exec, values, original.shape(), DType::kF64);
        run.forward(exec);
        input = original;
        return conformance::dot(values_of(run.attention.out), projection);
      };
      expect_gradient(loss, values_of(original), values_of(gradient), what);
    };
    check(run.attention.q, run.d_q, "d_q");
    check(run.attention.k, run.d_k, "d_k");
    check(run.attention.v, run.d_v, "d_v");
    check(run.sink.sink, run.d_sink, "d_sink");
  }
}

TEST(AttentionSink, QueryThatSeesNoKeyHasTheSinkAlone) {
  for_each_variant([](DType dtype, Exec& exec) {
    const Case c{1, 20, 2, 1, 8, -1, 0, true};
    SinkRun run(c, dtype, exec);
    run.forward(exec);
    run.backward(exec);
    for (const double value : values_of(run.attention.out.slice(1, 19, 20))) EXPECT_EQ(value, 0);
    const std::vector<double> lse = values_of(run.attention.lse), sink = values_of(run.sink.sink);
    EXPECT_EQ(lse[19], sink[0]);
    EXPECT_EQ(lse[39], sink[1]);
    for (const Tensor& tensor : {run.d_q, run.d_k, run.d_v, run.d_sink})
      for (const double value : values_of(tensor)) EXPECT_TRUE(std::isfinite(value));
  });
}

// 0 where none is given; one that outweighs everything, or nothing.
TEST(AttentionSink, ScoresOfAllSizes) {
  for_each_variant([](DType dtype, Exec& exec) {
    const Case c{2, 11, 3, 1, 7};
    for (const double score : {0.0, 1000.0, -1000.0}) {
      SinkRun run(c, dtype, exec), plain(c, dtype, exec);
      attention(plain.attention, exec);
      run.sink.sink = score == 0 ? Tensor() : tensor_of(exec, {score, score, score}, {3}, dtype);
      run.forward(exec);
      run.backward(exec);
      const std::vector<double> out = values_of(run.attention.out), before = values_of(plain.attention.out);
      const std::vector<double> lse = values_of(plain.attention.lse), joined = values_of(run.attention.lse);
      for (int64_t row = 0; row < c.batch * c.seq * c.heads; ++row) {
        const int64_t head = row % 3, token = row / 3 % 11, b = row / 33;
        const auto place = static_cast<size_t>((b * 3 + head) * 11 + token);
        const double kept = score == 0 ? 1 / (1 + std::exp(-lse[place])) : score > 0 ? 0 : 1;
        const Tolerance allowed = tolerance(dtype, 1);
        for (int64_t d = 0; d < c.dim; ++d) {
          const auto i = static_cast<size_t>(row * c.dim + d);
          EXPECT_NEAR(out[i], kept * before[i], allowed.absolute + allowed.relative * std::abs(before[i]));
        }
        const double expected = score == 0  ? std::log(1 + std::exp(lse[place]))
                                : score > 0 ? score
                                            : lse[place];
        EXPECT_NEAR(joined[place], expected,
                    tolerance(lse_dtype(dtype), 1, 4).absolute + 1e-6 * std::abs(expected));
      }
      for (const double value : values_of(run.d_sink)) {
        EXPECT_TRUE(std::isfinite(value));
        EXPECT_EQ(value == 0, score != 0) << value;
      }
    }
  });
}

TEST(AttentionSink, GradientIsAddedWhereAsked) {
  Exec exec;
  const Case c{2, 40, 3, 3, 6};
  SinkRun run(c, DType::kF32, exec);
  run.forward(exec);
  run.backward(exec);
  const std::vector<double> once = values_of(run.d_sink);
  attention_sink_backward({.forward = run.sink, .d_out = run.d_out, .d_sink = run.d_sink, .accumulate = true},
                          exec);
  const std::vector<double> twice = values_of(run.d_sink);
  for (size_t i = 0; i < once.size(); ++i) {
    EXPECT_NE(once[i], 0);
    EXPECT_NEAR(twice[i], 2 * once[i], 1e-6);
  }
}

TEST(AttentionSink, NoQueries) {
  Exec exec;
  SinkRun run({0, 5, 2, 1, 8}, DType::kF32, exec);
  run.forward(exec);
  attention_sink_backward({.forward = run.sink, .d_out = run.d_out, .d_sink = run.d_sink}, exec);
  EXPECT_EQ(values_of(run.d_sink), (std::vector<double>{0, 0}));
}

TEST(AttentionSink, SameBitsForAnyNumberOfThreads) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    expect_same_for_any_threads([&](Exec& exec) {
      SinkRun run({2, 700, 4, 2, 32}, dtype, exec);
      run.forward(exec);
      run.backward(exec);
      std::vector<uint8_t> bits;
      for (const Tensor& tensor : {run.attention.out, run.attention.lse, run.d_sink}) {
        const std::vector<uint8_t> more = bits_of(tensor);
        bits.insert(bits.end(), more.begin(), more.end());
      }
      return bits;
    });
  }
}

TEST(AttentionSink, RefusesWhatDoesNotFit) {
  Exec exec;
  const auto refuses = [&](const std::function<void(SinkRun&)>& change) {
    SinkRun run({1, 4, 2, 1, 8}, DType::kF32, exec);
    run.forward(exec);
    change(run);
    EXPECT_THROW(
        attention_sink_backward({.forward = run.sink, .d_out = run.d_out, .d_sink = run.d_sink}, exec),
        Error);
  };
  refuses([&](SinkRun& run) { run.sink.sink = exec.zeros({3}, DType::kF32); });
  refuses([&](SinkRun& run) { run.sink.sink = exec.zeros({2}, DType::kBF16); });
  refuses([&](SinkRun& run) { run.sink.lse = exec.zeros({1, 4, 2}, DType::kF32); });
  refuses([&](SinkRun& run) { run.sink.out = exec.zeros({4, 2, 8}, DType::kF32); });
  refuses([&](SinkRun& run) { run.sink.out = exec.zeros({1, 4, 2, 8}, DType::kI32); });
  refuses([&](SinkRun& run) { run.d_out = exec.zeros({1, 4, 2, 7}, DType::kF32); });
  refuses([&](SinkRun& run) { run.d_sink = exec.zeros({2}, DType::kBF16); });
}

}  // namespace
}  // namespace megalith
