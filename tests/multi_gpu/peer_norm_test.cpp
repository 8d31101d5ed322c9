// Reduce-scatter, residual, norm and all-gather in one kernel: the bits of the four, one after another.
#include "megalith/ops/peer_norm.h"

#include <gtest/gtest.h>

#include "megalith/comm/peer_access.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/random_fill.h"

#include "tests/multi_gpu/gpu_ranks.h"

namespace megalith {
namespace {

struct Case {
  NormKind kind;
  DType dtype;
  int64_t rows, cols;  // of a rank
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const NormKind kind : {NormKind::kRmsNorm, NormKind::kLayerNorm})
    for (const DType dtype : {DType::kF32, DType::kBF16})
      for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{301, 4096}, {5, 1027}, {64, 20000}})
        all.push_back({kind, dtype, rows, cols});
  return all;
}

Tensor random_on(const GpuRank& rank, const Shape& shape, DType dtype, uint64_t seed) {
  const Tensor x = rank.exec.empty(shape, dtype);
  fill_normal({.x = x, .rng = {seed, static_cast<uint64_t>(rank.rank())}}, rank.exec);
  return x;
}

struct Outcome {
  Tensor sum, y, rstd, mean, whole;
};

void expect_same_bits(const Tensor& actual, const Tensor& expected, const std::string& what) {
  std::vector<std::byte> staging, expected_staging;
  const auto bytes = bytes_on_host(actual, staging), wanted = bytes_on_host(expected, expected_staging);
  ASSERT_EQ(bytes.size(), wanted.size()) << what;
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), wanted.begin())) << what;
}

void compare(const GpuRank& rank, const Case& c, PeerAccess& access, uint64_t seed) {
  Exec& exec = rank.exec;
  const int n = rank.host.size();
  const Tensor term = random_on(rank, {n * c.rows, c.cols}, c.dtype, seed);
  const bool has_mean = c.kind == NormKind::kLayerNorm;
  NormArgs norm_args{.kind = c.kind,
                     .residual = random_on(rank, {c.rows, c.cols}, c.dtype, seed + 1),
                     .weight = random_on(rank, {c.cols}, c.dtype, seed + 2),
                     .bias = has_mean ? random_on(rank, {c.cols}, c.dtype, seed + 3) : Tensor()};
  const auto with_outputs = [&](Outcome& out) {
    NormArgs args = norm_args;
    args.sum = out.sum = exec.zeros({c.rows, c.cols}, c.dtype);
    args.y = out.y = exec.zeros({c.rows, c.cols}, c.dtype);
    args.rstd = out.rstd = exec.zeros({c.rows}, DType::kF32);
    if (has_mean) args.mean = out.mean = exec.zeros({c.rows}, DType::kF32);
    out.whole = exec.zeros({n * c.rows, c.cols}, c.dtype);
    return args;
  };

  Outcome expected;
  NormArgs apart = with_outputs(expected);
  // In rank order: every rank brings its peers' blocks.
  const Tensor terms = exec.empty({n, c.rows, c.cols}, c.dtype);
  rank.world.all_to_all(term, terms);
  apart.x = exec.empty({c.rows, c.cols}, c.dtype);
  sum_terms(terms, apart.x, exec);
  norm(apart, exec);
  rank.world.all_gather(expected.y, expected.whole);

  Outcome fused;
  const NormArgs args = with_outputs(fused);
  const Tensor own[] = {term, fused.whole};
  const PeerAccess::Places places = access.open(own);
  peer_norm({.norm = args, .rank = rank.rank(), .terms = places[0], .wholes = places[1]}, exec);
  access.close();

  const std::string what =
      fmt::format("{} {}x{}, rank {} of {}", name_of(c.dtype), c.rows, c.cols, rank.rank(), n);
  expect_same_bits(fused.sum, expected.sum, what + ", sum");
  expect_same_bits(fused.y, expected.y, what + ", y");
  expect_same_bits(fused.rstd, expected.rstd, what + ", rstd");
  expect_same_bits(fused.whole, expected.whole, what + ", whole");
  if (has_mean) expect_same_bits(fused.mean, expected.mean, what + ", mean");
}

TEST(GpuPeerNorm, HasTheBitsOfItsParts) {
  for (const int num_ranks : {2, 3, 4}) {
    if (cuda_device_count() < num_ranks) continue;
    on_gpus(num_ranks, [](const GpuRank& rank) {
      const std::shared_ptr<PeerAccess> access = make_peer_access(rank.world);
      ASSERT_NE(access, nullptr);
      uint64_t seed = 0;
      for (const Case& c : cases()) compare(rank, c, *access, seed += 10);
    });
  }
}

}  // namespace
}  // namespace megalith
