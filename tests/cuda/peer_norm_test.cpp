// The kernel of sum, residual, norm and gather with the terms of all ranks on one GPU: the bits of its parts.
#include "megalith/ops/peer_norm.h"

#include <gtest/gtest.h>

#include "megalith/ops/elementwise.h"

#include "tests/cuda/gpu_values.h"

namespace megalith {
namespace {

using namespace conformance;

struct Case {
  NormKind kind;
  DType dtype;
  int64_t num_ranks, rows, cols;
};

void compare(const Case& c, Exec& exec) {
  SCOPED_TRACE(fmt::format("{} {} ranks {}x{}", name_of(c.dtype), c.num_ranks, c.rows, c.cols));
  const bool has_mean = c.kind == NormKind::kLayerNorm;
  const Shape own{c.rows, c.cols}, all{c.num_ranks * c.rows, c.cols};
  std::vector<Tensor> terms, wholes;
  std::vector<const std::byte*> term_places, whole_places;
  for (int64_t rank = 0; rank < c.num_ranks; ++rank) {
    terms.push_back(random_on(exec, all, c.dtype, static_cast<uint64_t>(10 + rank)));
    wholes.push_back(exec.zeros(all, c.dtype));
    term_places.push_back(terms.back().raw());
    whole_places.push_back(wholes.back().raw());
  }
  const auto outputs = [&](NormArgs args) {
    args.sum = exec.zeros(own, c.dtype);
    args.y = exec.zeros(own, c.dtype);
    args.rstd = exec.zeros({c.rows}, DType::kF32);
    if (has_mean) args.mean = exec.zeros({c.rows}, DType::kF32);
    return args;
  };
  for (int64_t rank = 0; rank < c.num_ranks; ++rank) {
    const int64_t first = rank * c.rows, end = first + c.rows;
    const NormArgs inputs{.kind = c.kind,
                          .residual = random_on(exec, own, c.dtype, static_cast<uint64_t>(30 + rank)),
                          .weight = random_on(exec, {c.cols}, c.dtype, 1),
                          .bias = has_mean ? random_on(exec, {c.cols}, c.dtype, 2) : Tensor()};
    NormArgs apart = outputs(inputs);
    const Tensor blocks = exec.empty({c.num_ranks, c.rows, c.cols}, c.dtype);
    for (int64_t from = 0; from < c.num_ranks; ++from)
      copy(terms[static_cast<size_t>(from)].slice(0, first, end), blocks.slice(0, from, from + 1).view(own),
           exec);
    apart.x = exec.empty(own, c.dtype);
    sum_terms(blocks, apart.x, exec);
    norm(apart, exec);

    const NormArgs fused = outputs(inputs);
    peer_norm({.norm = fused, .rank = static_cast<int>(rank), .terms = term_places, .wholes = whole_places},
              exec);
    expect_same_bits(fused.sum, apart.sum, "sum");
    expect_same_bits(fused.y, apart.y, "y");
    expect_same_bits(fused.rstd, apart.rstd, "rstd");
    if (has_mean) expect_same_bits(fused.mean, apart.mean, "mean");
    for (const Tensor& whole : wholes) {
      expect_same_bits(whole.slice(0, first, end), apart.y, "its rows of every whole");
      if (rank == 0) expect_same_bits(whole.slice(0, end, 2 * c.rows), exec.zeros(own, c.dtype), "no others");
    }
  }
}

TEST(CudaPeerNorm, HasTheBitsOfItsParts) {
  Exec exec({.device = {DeviceKind::kCuda, 0}, .num_threads = 1});
  for (const NormKind kind : {NormKind::kRmsNorm, NormKind::kLayerNorm})
    for (const DType dtype : {DType::kF32, DType::kBF16})
      for (const int64_t num_ranks : {2, 3, 8})
        for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{37, 4096}, {5, 1027}, {3, 20000}})
          compare({kind, dtype, num_ranks, rows, cols}, exec);
}

}  // namespace
}  // namespace megalith
