// Products in pieces are whole products with collectives in line, to the bit where sums are exact.
#include "megalith/autograd/functions/split_products.h"

#include <gtest/gtest.h>

#include "megalith/comm/run_ranks.h"

#include "tests/autograd/split_case.h"

namespace megalith {
namespace {

using testing::SplitCase;

void expect_equal(const SplitCase& c, int num_ranks) {
  run_ranks({.num_ranks = num_ranks}, [&](Communicator& host) {
    Exec exec({.num_threads = 1});
    const auto beside = host.split({.name = "beside", .order = CommOrder::kBeside});
    SplitCase own = c;
    const testing::SplitOutcome expected = run_split_case(own, host, *beside, exec);
    own.splits_products = true;
    expect_close(run_split_case(own, host, *beside, exec), expected, c, fmt::format("{} ranks", num_ranks));
  });
}

void expect_equal(const SplitCase& c) {
  for (const int num_ranks : {2, 3, 4}) {
    for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
      for (const bool is_deferred : {false, true}) {
        SplitCase varied = c;
        varied.dtype = dtype;
        varied.is_deferred = is_deferred;
        expect_equal(varied, num_ranks);
      }
    }
  }
}

TEST(SplitProducts, OfAColumnParallelLayer) {
  expect_equal({.layer = SplitCase::Layer::kColumn});
  expect_equal({.layer = SplitCase::Layer::kColumn, .has_bias = true});
}

TEST(SplitProducts, OfARowParallelLayer) {
  expect_equal({.layer = SplitCase::Layer::kRow});
  expect_equal({.layer = SplitCase::Layer::kRow, .has_bias = true});
}

TEST(SplitProducts, OfARowParallelLayerAfterSwiglu) {
  expect_equal({.layer = SplitCase::Layer::kSwigluRow});
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
