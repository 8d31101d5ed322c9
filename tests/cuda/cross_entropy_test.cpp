// Cross-entropy of shards of a vocabulary, and the head with its loss, on the GPU against the CPU.

#include "megalith/ops/cross_entropy.h"

#include "megalith/autograd/functions/linear_cross_entropy.h"

#include "tests/cuda/twins.h"

namespace megalith {
namespace {

using conformance::kFloatTypes;
using conformance::Layout;
using testing::Twins;

DType sum_type(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

Twins::Pair some_labels(Twins& t, int64_t rows, int64_t vocabulary) {
  std::vector<double> labels;
  for (int64_t row = 0; row < rows; ++row)
    labels.push_back(row % 3 == 1 ? -1 : static_cast<double>((row * 7919 + vocabulary - 1) % vocabulary));
  return t.of(labels, {rows}, DType::kI32);
}

TEST(CudaCrossEntropy, ShardsWithWeights) {
  Twins t;
  for (const DType dtype : kFloatTypes) {
    for (const Shape& shape : {Shape{5, 64}, Shape{3, 37}, Shape{7, 9001}}) {
      SCOPED_TRACE(std::string(name_of(dtype)) + shape.str());
      constexpr int64_t kShards = 3;
      const int64_t rows = shape[0], columns = shape[1];
      const auto labels = some_labels(t, rows, kShards * columns);
      const auto weights = t.random({rows}, sum_type(dtype), 5);
      const auto all = t.poisoned({kShards, 3, rows}, sum_type(dtype));
      std::vector<Twins::Pair> logits;
      for (int64_t shard = 0; shard < kShards; ++shard) {
        const Layout layout = shard == 1 ? Layout::kPaddedRows : Layout::kContiguous;
        logits.push_back(t.random(shape, dtype, static_cast<uint64_t>(shard + 1), layout));
        scale_in_place(logits.back().cpu, 20, t.cpu());
        scale_in_place(logits.back().gpu, 20, t.gpu());
        const auto part = [&](const Tensor& whole) {
          return whole.slice(0, shard, shard + 1).view({3, rows});
        };
        cross_entropy_statistics({.logits = logits.back().cpu,
                                  .labels = labels.cpu,
                                  .first_label = shard * columns,
                                  .statistics = part(all.cpu)},
                                 t.cpu());
        cross_entropy_statistics({.logits = logits.back().gpu,
                                  .labels = labels.gpu,
                                  .first_label = shard * columns,
                                  .statistics = part(all.gpu)},
                                 t.gpu());
      }
      Twins::expect_close(all, columns, 20, "statistics");
      for (int64_t shard = 0; shard < kShards; ++shard) {
        const auto loss = t.poisoned({rows}, sum_type(dtype));
        const Twins::Pair& x = logits[static_cast<size_t>(shard)];
        CrossEntropyArgs args{.logits = x.cpu,
                              .labels = labels.cpu,
                              .statistics = all.cpu,
                              .first_label = shard * columns,
                              .loss_weights = weights.cpu,
                              .d_loss = 4,
                              .loss = loss.cpu,
                              .d_logits = x.cpu};
        cross_entropy(args, t.cpu());
        args.logits = args.d_logits = x.gpu;
        args.labels = labels.gpu;
        args.statistics = all.gpu;
        args.loss_weights = weights.gpu;
        args.loss = loss.gpu;
        cross_entropy(args, t.gpu());
        Twins::expect_close(loss, kShards * columns, 4, "loss");
        Twins::expect_close(x, 16, 4, "d_logits");
      }
    }
  }
}

TEST(CudaCrossEntropy, WeightedSum) {
  Twins t;
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    for (const int64_t count : {0, 1, 31, 5000}) {
      const auto x = t.random({count}, dtype, 1), weights = t.random({count}, dtype, 2);
      const auto out = t.poisoned({1}, DType::kF64);
      weighted_sum(x.cpu, weights.cpu, out.cpu, t.cpu());
      weighted_sum(x.gpu, weights.gpu, out.gpu, t.gpu());
      Twins::expect_close(out, count, 1, "weighted_sum");
    }
  }
}

TEST(CudaCrossEntropy, ALabelOutsideTheVocabularyIsNan) {
  Twins t;
  const auto labels = t.of({0, 5, -1}, {3}, DType::kI32);
  const auto logits = t.random({3, 5}, DType::kF32, 1), loss = t.poisoned({3}, DType::kF32);
  cross_entropy({.logits = logits.gpu, .labels = labels.gpu, .loss = loss.gpu}, t.gpu());
  const std::vector<double> losses = to_vector<double>(loss.gpu);
  EXPECT_FALSE(std::isnan(losses[0]) || std::isnan(losses[2]));
  EXPECT_TRUE(std::isnan(losses[1]));
}

struct Head {
  double loss = 0;
  std::vector<double> d_x, d_weight;
};

Head run_head(const Tensor& x, const Tensor& weight, LinearCrossEntropyArgs args, Exec& exec) {
  ParameterStore store;
  Parameter& parameter = store.add({"head", weight.shape(), Init::zeros()});
  store.materialize(exec, weight.dtype());
  store.allocate_gradients(exec);
  copy(weight, parameter.data, exec);
  Tape tape(exec);
  const Var in = tape.leaf(x);
  const Var loss = linear_cross_entropy(tape, in, parameter, args);
  tape.backward(loss, exec.from_host(std::span<const double>(&args.d_loss, 1), {1}));
  return {to_vector<double>(loss.data)[0], to_vector<double>(tape.gradient(in)),
          to_vector<double>(parameter.main_grad)};
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance) << i;
}

TEST(CudaCrossEntropy, HeadInChunks) {
  Twins t;
  constexpr int64_t kTokens = 300, kHidden = 64, kVocabulary = 1000;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const auto x = t.random({kTokens, kHidden}, dtype, 1),
               weight = t.random({kVocabulary, kHidden}, dtype, 2);
    const auto labels = some_labels(t, kTokens, kVocabulary);
    const auto weights = t.random({kTokens}, DType::kF32, 3);
    LinearCrossEntropyArgs args{.labels = labels.cpu, .loss_weights = weights.cpu, .d_loss = 2};
    const Head expected = run_head(x.cpu, weight.cpu, args, t.cpu());
    args.labels = labels.gpu;
    args.loss_weights = weights.gpu;
    const Head whole = run_head(x.gpu, weight.gpu, args, t.gpu());
    args.chunk_rows = 128;
    const Head chunked = run_head(x.gpu, weight.gpu, args, t.gpu());
    // Logits of size 8 and their gradients of size 2 are rounded to the dtype.
    const double roundoff = conformance::unit_roundoff(dtype);
    for (const Head* head : {&whole, &chunked}) {
      EXPECT_NEAR(head->loss, expected.loss, 300 * roundoff);
      expect_near(head->d_x, expected.d_x, 64 * roundoff);
      expect_near(head->d_weight, expected.d_weight, 64 * roundoff);
    }
  }
}

}  // namespace
}  // namespace megalith
