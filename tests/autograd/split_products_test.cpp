// Products in pieces have the bits of whole products with collectives in line.
#include "megalith/autograd/functions/split_products.h"

#include <gtest/gtest.h>

#include "megalith/comm/run_ranks.h"

#include "tests/autograd/split_case.h"

namespace megalith {
namespace {

using testing::SplitCase;

void expect_same_bits(SplitCase c, int num_ranks) {
  run_ranks({.num_ranks = num_ranks}, [&](Communicator& host) {
    Exec exec({.num_threads = 1});
    const auto beside = host.split({.name = "beside", .order = CommOrder::kBeside});
    SplitCase own = c;
    const testing::SplitOutcome expected = run_split_case(own, host, *beside, exec);
    own.splits_products = true;
    for (const auto& [name, values] : run_split_case(own, host, *beside, exec)) {
      EXPECT_EQ(values, expected.at(name)) << name << ", " << num_ranks << " ranks, " << name_of(c.dtype);
      EXPECT_NE(values, std::vector<double>(values.size(), values[0])) << name;
    }
  });
}

void expect_same_bits(const SplitCase& c) {
  for (const int num_ranks : {2, 3, 4}) {
    for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
      for (const bool is_deferred : {false, true}) {
        SplitCase varied = c;
        varied.dtype = dtype;
        varied.is_deferred = is_deferred;
        expect_same_bits(varied, num_ranks);
      }
    }
  }
}

TEST(SplitProducts, OfAColumnParallelLayer) {
  expect_same_bits({.layer = SplitCase::Layer::kColumn});
  expect_same_bits({.layer = SplitCase::Layer::kColumn, .has_bias = true});
}

TEST(SplitProducts, OfARowParallelLayer) {
  expect_same_bits({.layer = SplitCase::Layer::kRow});
  expect_same_bits({.layer = SplitCase::Layer::kRow, .has_bias = true});
}

TEST(SplitProducts, OfARowParallelLayerAfterSwiglu) {
  expect_same_bits({.layer = SplitCase::Layer::kSwigluRow});
}

TEST(SplitProducts, NameRowsThatCannotBeShared) {
  run_ranks({.num_ranks = 2}, [&](Communicator& host) {
    Exec exec({.num_threads = 1});
    const auto beside = host.split({.name = "beside", .order = CommOrder::kBeside});
    EXPECT_THROW(sum_of_scattered({7, 2}, DType::kF32, beside.get(), exec, [](int64_t, const Tensor&) {}),
                 Error);
  });
}

}  // namespace
}  // namespace megalith
