#include "megalith/autograd/functions/linear_cross_entropy.h"

#include <cmath>

#include <gtest/gtest.h>

#include "megalith/comm/run_ranks.h"
#include "megalith/ops/cross_entropy.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

constexpr int64_t kTokens = 27, kHidden = 6, kVocabulary = 20;

std::vector<double> values(int64_t count, uint64_t seed) {
  std::vector<double> result;
  for (int64_t i = 0; i < count; ++i)
    result.push_back(2 * uniform_from_bits(RngKey{seed, 0}.bits(static_cast<uint64_t>(i))) - 1);
  return result;
}

struct Problem {
  std::vector<double> x = values(kTokens * kHidden, 1);
  std::vector<double> weight = values(kVocabulary * kHidden, 2);
  std::vector<int32_t> labels;
  std::vector<double> loss_weights;
  DType dtype = DType::kF64;
  double d_loss = 1;
  int64_t chunk_rows = 0;

  Problem() {
    for (int64_t t = 0; t < kTokens; ++t) {
      labels.push_back(t % 5 == 3 ? -1 : static_cast<int32_t>(7 * t % kVocabulary));
      loss_weights.push_back(t == 6 ? 0 : 0.1 * static_cast<double>(1 + t % 4));
    }
  }
};

struct Outcome {
  double loss = 0;
  std::vector<double> d_x, d_weight;
};

Tensor as(DType dtype, const std::vector<double>& from, const Shape& shape, Exec& exec) {
  const Tensor to = exec.empty(shape, dtype);
  copy(exec.from_host(std::span<const double>(from), shape), to, exec);
  return to;
}

// The part of rank `rank` of `size`.
std::vector<double> shard(const std::vector<double>& whole, int rank, int size) {
  const auto part = whole.size() / static_cast<size_t>(size);
  const auto begin = whole.begin() + static_cast<ptrdiff_t>(part * static_cast<size_t>(rank));
  return {begin, begin + static_cast<ptrdiff_t>(part)};
}

// Loss, d_x and d_weight, which is written over what a first microbatch left when `times` is 2.
Outcome run(const Problem& p, Communicator* group = nullptr, int times = 1) {
  Exec exec({.num_threads = 1});
  const int size = group == nullptr ? 1 : group->size(), rank = group == nullptr ? 0 : group->rank();
  const DType sum_dtype = p.dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  ParameterStore store;
  Parameter& weight = store.add({"head", {kVocabulary / size, kHidden}, Init::zeros()});
  store.materialize(exec, p.dtype);
  store.allocate_gradients(exec);
  copy(as(DType::kF64, shard(p.weight, rank, size), weight.data.shape(), exec), weight.data, exec);
  const LinearCrossEntropyArgs args{.labels = exec.from_host(std::span<const int32_t>(p.labels), {kTokens}),
                                    .loss_weights = as(sum_dtype, p.loss_weights, {kTokens}, exec),
                                    .d_loss = p.d_loss,
                                    .group = group,
                                    .chunk_rows = p.chunk_rows};
  const Tensor d_loss = exec.from_host(std::span<const double>(&p.d_loss, 1), {1});
  Outcome outcome;
  store.mark_gradients_fresh();
  for (int i = 0; i < times; ++i) {
    Tape tape(exec);
    const Var x = tape.leaf(as(p.dtype, p.x, {kTokens, kHidden}, exec));
    const Var loss = linear_cross_entropy(tape, x, weight, args);
    outcome.loss = loss.data.data<double>()[0];
    tape.backward(loss, d_loss);
    outcome.d_x = to_vector<double>(tape.gradient(x));
  }
  outcome.d_weight = to_vector<double>(weight.main_grad);
  return outcome;
}

double evaluate(const Problem& p) {
  Exec exec({.num_threads = 1});
  ParameterStore store;
  Parameter& weight = store.add({"head", {kVocabulary, kHidden}, Init::zeros()});
  store.materialize(exec, p.dtype);
  copy(as(DType::kF64, p.weight, weight.data.shape(), exec), weight.data, exec);
  Tape tape(exec, {.is_recording = false, .recompute = {}});
  const DType sum_dtype = p.dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  const Var loss =
      linear_cross_entropy(tape, {as(p.dtype, p.x, {kTokens, kHidden}, exec)}, weight,
                           {.labels = exec.from_host(std::span<const int32_t>(p.labels), {kTokens}),
                            .loss_weights = as(sum_dtype, p.loss_weights, {kTokens}, exec),
                            .chunk_rows = p.chunk_rows});
  return loss.data.data<double>()[0];
}

// The formula in plain loops.
double reference_loss(const Problem& p) {
  double sum = 0;
  for (int64_t t = 0; t < kTokens; ++t) {
    if (p.labels[t] < 0) continue;
    double total = 0, target = 0;
    for (int64_t v = 0; v < kVocabulary; ++v) {
      double logit = 0;
      for (int64_t h = 0; h < kHidden; ++h) logit += p.x[t * kHidden + h] * p.weight[v * kHidden + h];
      total += std::exp(logit);
      if (v == p.labels[t]) target = logit;
    }
    sum += p.loss_weights[t] * (std::log(total) - target);
  }
  return sum;
}

void expect_near(const std::vector<double>& actual, const std::vector<double>& expected, double tolerance,
                 const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i)
    EXPECT_NEAR(actual[i], expected[i], tolerance) << what << " " << i;
}

// Central differences with a step of 1e-5: the truncation error is O(step^2), rounding O(1e-16 / step).
std::vector<double> differences(Problem p, std::vector<double> Problem::*of) {
  constexpr double kStep = 1e-5;
  std::vector<double> result;
  for (double& value : p.*of) {
    const double place = value;
    value = place + kStep;
    const double above = reference_loss(p);
    value = place - kStep;
    const double below = reference_loss(p);
    value = place;
    result.push_back((above - below) / (2 * kStep));
  }
  return result;
}

TEST(LinearCrossEntropy, LossAndGradientsAreThoseOfTheFormula) {
  const Problem p;
  for (const int64_t chunk_rows : {0, 1, 4, 13, 100}) {
    Problem chunked = p;
    chunked.chunk_rows = chunk_rows;
    const Outcome outcome = run(chunked);
    EXPECT_NEAR(outcome.loss, reference_loss(p), 1e-13) << chunk_rows;
    EXPECT_EQ(evaluate(chunked), outcome.loss) << chunk_rows;
    expect_near(outcome.d_x, differences(p, &Problem::x), 1e-8, "d_x");
    expect_near(outcome.d_weight, differences(p, &Problem::weight), 1e-8, "d_weight");
  }
}

TEST(LinearCrossEntropy, ChunksChangeRoundingAlone) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    Problem p;
    p.dtype = dtype;
    const Outcome whole = run(p);
    p.chunk_rows = 9;  // fewer than nine rows are multiplied by another kernel, in another order
    const Outcome chunked = run(p);
    EXPECT_EQ(chunked.loss, whole.loss);  // a row's logits do not depend on the others
    EXPECT_EQ(chunked.d_x, whole.d_x);
    expect_near(chunked.d_weight, whole.d_weight, 1e-6, name_of(dtype));
  }
}

TEST(LinearCrossEntropy, GradientIsThatOfDLoss) {
  Problem p;
  const Outcome plain = run(p);
  p.d_loss = 64;
  const Outcome scaled = run(p);
  EXPECT_EQ(scaled.loss, plain.loss);
  for (size_t i = 0; i < plain.d_x.size(); ++i) EXPECT_NEAR(scaled.d_x[i], 64 * plain.d_x[i], 1e-13);
  for (size_t i = 0; i < plain.d_weight.size(); ++i)
    EXPECT_NEAR(scaled.d_weight[i], 64 * plain.d_weight[i], 1e-12);
}

TEST(LinearCrossEntropy, MicrobatchesAddUp) {
  const Problem p;
  const Outcome once = run(p), twice = run(p, nullptr, 2);
  for (size_t i = 0; i < once.d_weight.size(); ++i)
    EXPECT_NEAR(twice.d_weight[i], 2 * once.d_weight[i], 1e-13);
}

TEST(LinearCrossEntropy, ShardsOfTheVocabularyGiveTheWhole) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
    for (const int num_ranks : {1, 2, 4, 5}) {
      Problem p;
      p.dtype = dtype;
      p.chunk_rows = 5;
      const Outcome whole = run(p);
      std::vector<Outcome> parts(static_cast<size_t>(num_ranks));
      run_ranks(num_ranks,
                [&](Communicator& group) { parts[static_cast<size_t>(group.rank())] = run(p, &group); });
      std::vector<double> d_x(whole.d_x.size()), d_weight;
      for (const Outcome& part : parts) {
        EXPECT_EQ(part.loss, parts[0].loss);
        for (size_t i = 0; i < d_x.size(); ++i) d_x[i] += part.d_x[i];
        d_weight.insert(d_weight.end(), part.d_weight.begin(), part.d_weight.end());
      }
      // Logits, sums and results are rounded to the dtype; losses and statistics to f32 at least.
      const double sum_tolerance = dtype == DType::kF64 ? 1e-13 : 3e-6;
      const double tolerance = dtype == DType::kBF16 ? 0.01 : dtype == DType::kF16 ? 0.00125 : sum_tolerance;
      EXPECT_NEAR(parts[0].loss, whole.loss, sum_tolerance);
      expect_near(d_x, whole.d_x, tolerance, "d_x");
      expect_near(d_weight, whole.d_weight, tolerance, "d_weight");
    }
  }
}

TEST(LinearCrossEntropy, RefusesAnotherGradientAndLabelsOutside) {
  Problem p;
  Exec exec({.num_threads = 1});
  ParameterStore store;
  Parameter& weight = store.add({"head", {kVocabulary, kHidden}, Init::ones()});
  store.materialize(exec, p.dtype);
  store.initialize(exec);
  const auto call = [&](Tape& tape) {
    return linear_cross_entropy(tape, tape.leaf(as(p.dtype, p.x, {kTokens, kHidden}, exec)), weight,
                                {.labels = exec.from_host(std::span<const int32_t>(p.labels), {kTokens}),
                                 .loss_weights = as(p.dtype, p.loss_weights, {kTokens}, exec)});
  };
  Tape without_gradients(exec);
  EXPECT_THROW(call(without_gradients), Error);
  store.allocate_gradients(exec);
  Tape tape(exec);
  const Var loss = call(tape);
  const double two = 2;
  EXPECT_THROW(tape.backward(loss, exec.from_host(std::span<const double>(&two, 1), {1})), Error);
  p.labels[4] = kVocabulary;
  Tape other(exec);
  EXPECT_THROW(call(other), Error);
}

TEST(LinearCrossEntropy, ALabelOutsideAllShardsIsRefused) {
  Problem p;
  p.labels[2] = kVocabulary;
  EXPECT_THROW(run_ranks(2, [&](Communicator& group) { run(p, &group); }), Error);
}

TEST(CrossEntropyChunkRows, KeepsItsBound) {
  for (const int64_t tokens : {1, 127, 1000, 32768, 131072}) {
    for (const int64_t vocabulary : {1, 100, 32000, 128256, 131072, 1 << 23}) {
      const int64_t rows = cross_entropy_chunk_rows(tokens, vocabulary);
      EXPECT_EQ(rows % 128, 0);
      EXPECT_TRUE(rows == 128 || rows * vocabulary <= int64_t{1} << 29) << tokens << " x " << vocabulary;
      EXPECT_LT(rows, tokens + 128);
    }
  }
  EXPECT_EQ(cross_entropy_chunk_rows(32768, 32000), 16384);
  EXPECT_EQ(cross_entropy_chunk_rows(32768, 131072), 4096);
}

}  // namespace
}  // namespace megalith
