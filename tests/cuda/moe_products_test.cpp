// The products of experts, whose numbers of rows only the GPU knows.

#include <algorithm>
#include <cmath>

#include "megalith/ops/grouped_gemm.h"

#include "tests/cuda/twins.h"

namespace megalith {
namespace {

using conformance::Layout;
using testing::Twins;

struct Case {
  int64_t n, k;
  std::vector<int64_t> rows;  // of each expert
};

std::vector<Case> cases() {
  std::vector<int64_t> many(300);
  for (size_t e = 0; e < many.size(); ++e) many[e] = static_cast<int64_t>(e % 4 == 1 ? 0 : e % 7);
  return {
      {4, 5, {3, 0, 7}},                      // nothing that a vector fits
      {131, 37, {65, 1, 64, 0}},              //
      {264, 136, {129, 0, 0, 300, 1, 127}},   // edges of tiles in every direction
      {128, 64, {128, 256}},                  // none
      {768, 2048, {0, 500, 0}},               // one gets all
      {64, 1024, {0, 0, 0, 0}},               // no rows at all
      {8, 8, many},                           // more experts than one launch takes
      {1536, 256, {1000, 24, 0, 999, 1, 24}}  //
  };
}

struct Experts {
  std::vector<Tensor> cpu, gpu;
};

Experts matrices(Twins& t, size_t count, const Shape& shape, DType dtype, uint64_t seed, Layout layout) {
  Experts experts;
  for (size_t e = 0; e < count; ++e) {
    const auto pair = t.random(shape, dtype, seed + e, layout);
    experts.cpu.push_back(pair.cpu);
    experts.gpu.push_back(pair.gpu);
  }
  return experts;
}

// A tile adds its terms in one chain, so that the error grows with the sums; the CPU adds blocks.
double chain(int64_t terms) {
  return std::max(1.0, std::sqrt(static_cast<double>(terms)) / 16);
}

template <class Body>
void for_each_case(const Body& body) {
  Twins twins;
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {  // experts take no f16
    for (const Layout layout : conformance::kLayouts) {
      for (const Case& c : cases()) {
        SCOPED_TRACE(fmt::format("{} n {} k {}, {} experts{}", name_of(dtype), c.n, c.k, c.rows.size(),
                                 layout == Layout::kContiguous ? "" : " padded"));
        std::vector<double> offsets = {0};
        for (const int64_t rows : c.rows) offsets.push_back(offsets.back() + static_cast<double>(rows));
        const auto on_both = twins.of(offsets, {static_cast<int64_t>(offsets.size())}, DType::kI32);
        body(twins, dtype, layout, c, on_both, static_cast<int64_t>(offsets.back()));
      }
    }
  }
}

TEST(CudaMoeProducts, EachExpertMeetsItsWeight) {
  for_each_case(
      [](Twins& t, DType dtype, Layout layout, const Case& c, const Twins::Pair& offsets, int64_t rows) {
        const auto x = t.random({rows, c.k}, dtype, 1, layout);
        for (const Transpose transpose : {Transpose::kYes, Transpose::kNo}) {
          const Shape shape = transpose == Transpose::kYes ? Shape{c.n, c.k} : Shape{c.k, c.n};
          const Experts weights = matrices(t, c.rows.size(), shape, dtype, 100, layout);
          for (const DType out : {dtype, DType::kF32}) {
            if (out != dtype && dtype != DType::kBF16) continue;
            const auto y = t.poisoned({rows, c.n}, out, layout);
            grouped_gemm({.x = x.cpu,
                          .weights = weights.cpu,
                          .offsets = offsets.cpu,
                          .y = y.cpu,
                          .transpose_w = transpose},
                         t.cpu());
            grouped_gemm({.x = x.gpu,
                          .weights = weights.gpu,
                          .offsets = offsets.gpu,
                          .y = y.gpu,
                          .transpose_w = transpose},
                         t.gpu());
            Twins::expect_close(y, c.k, chain(c.k), transpose == Transpose::kYes ? "x w^T" : "x w");
          }
        }
      });
}

TEST(CudaMoeProducts, GradientsOfWeights) {
  for_each_case([](Twins& t, DType dtype, Layout layout, const Case& c, const Twins::Pair& offsets,
                   int64_t rows) {
    const auto x = t.random({rows, c.k}, dtype, 1, layout);
    const auto d_y = t.random({rows, c.n}, dtype, 2, layout);
    for (const DType out : {dtype, DType::kF32}) {
      if (out != dtype && dtype != DType::kBF16) continue;
      Experts gradients = matrices(t, c.rows.size(), {c.n, c.k}, out, 200, Layout::kContiguous);
      std::vector<double> betas;
      for (size_t e = 0; e < c.rows.size(); ++e) {
        betas.push_back(e % 2 == 0 ? 0 : 1);
        if (betas.back() != 0) continue;
        const auto poisoned = t.poisoned({c.n, c.k}, out);  // must not be read
        gradients.cpu[e] = poisoned.cpu;
        gradients.gpu[e] = poisoned.gpu;
      }
      grouped_weight_gradient(
          {.d_y = d_y.cpu, .x = x.cpu, .offsets = offsets.cpu, .d_weights = gradients.cpu, .betas = betas},
          t.cpu());
      grouped_weight_gradient(
          {.d_y = d_y.gpu, .x = x.gpu, .offsets = offsets.gpu, .d_weights = gradients.gpu, .betas = betas},
          t.gpu());
      for (size_t e = 0; e < c.rows.size(); ++e)
        Twins::expect_close({gradients.cpu[e], gradients.gpu[e]}, c.rows[e] + 1, chain(c.rows[e]),
                            fmt::format("gradient {}", e));
    }
  });
}

}  // namespace
}  // namespace megalith
