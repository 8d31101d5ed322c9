#include "megalith/core/tensor.h"

#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/core/exec.h"

namespace megalith {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

Tensor counting(Exec& exec, const Shape& shape) {
  std::vector<int32_t> values(static_cast<size_t>(shape.numel()));
  std::iota(values.begin(), values.end(), 0);
  return exec.from_host<int32_t>(values, shape);
}

TEST(Shape, CountsAndPrints) {
  const Shape shape{4, 128, 256};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.numel(), 4 * 128 * 256);
  EXPECT_EQ(shape[-1], 256);
  EXPECT_EQ(shape[0], 4);
  EXPECT_EQ(shape.str(), "[4, 128, 256]");
  EXPECT_EQ(Shape{}.numel(), 1);
  EXPECT_EQ((Shape{3, 0}).numel(), 0);
  EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
  EXPECT_THAT(
      [] {
        Shape({1, 1, 1, 1, 1, 1, 1});
      },
      ThrowsMessage<Error>(HasSubstr("at most 6 dimensions, not 7")));
  EXPECT_THROW(shape[3], std::logic_error);
}

TEST(Tensor, IsRowMajorAndReadsBack) {
  Exec exec;
  const Tensor tensor = counting(exec, {2, 3, 4});
  EXPECT_EQ(tensor.stride(0), 12);
  EXPECT_EQ(tensor.stride(-1), 1);
  EXPECT_TRUE(tensor.is_contiguous());
  EXPECT_EQ(tensor.rows(), 6);
  EXPECT_EQ(tensor.row_stride(), 4);
  EXPECT_EQ(to_vector<int64_t>(tensor)[23], 23);
  EXPECT_THAT([&] { tensor.data<float>(); }, ThrowsMessage<Error>(HasSubstr("dtype i32 is read as f32")));
  EXPECT_THAT([] { Tensor().data<float>(); }, ThrowsMessage<Error>(HasSubstr("dtype none")));
}

TEST(Tensor, SlicesShareTheStorage) {
  Exec exec;
  const Tensor tensor = counting(exec, {3, 4});
  const Tensor slice = tensor.slice(1, 1, 3);
  EXPECT_THAT(to_vector<int32_t>(slice), ElementsAre(1, 2, 5, 6, 9, 10));
  EXPECT_TRUE(slice.shares_storage(tensor));
  EXPECT_FALSE(slice.is_unique());
  EXPECT_FALSE(slice.is_contiguous());
  EXPECT_TRUE(slice.is_rows());
  EXPECT_EQ(slice.row_stride(), 4);
  EXPECT_TRUE(tensor.slice(0, 1, 3).is_contiguous());
  EXPECT_EQ(tensor.slice(0, 2, 2).numel(), 0);
  EXPECT_THAT([&] { tensor.slice(1, 2, 5); },
              ThrowsMessage<Error>(HasSubstr("[2, 5) of dimension 1 of [3, 4]")));
}

TEST(Tensor, ViewsKeepTheOrder) {
  Exec exec;
  const Tensor tensor = counting(exec, {2, 6});
  EXPECT_EQ(tensor.view({3, -1}).shape(), (Shape{3, 4}));
  EXPECT_EQ(to_vector<int32_t>(tensor.view({12})), to_vector<int32_t>(tensor));
  EXPECT_THAT(to_vector<int32_t>(tensor.slice(0, 1, 2).view({3, 2}).slice(0, 1, 2)), ElementsAre(8, 9));
  EXPECT_THAT(
      [&] {
        tensor.view({5, 2});
      },
      ThrowsMessage<Error>(HasSubstr("view: shape [5, 2] has 10 elements")));
  EXPECT_THAT([&] { tensor.view({5, -1}); }, ThrowsMessage<Error>(HasSubstr("view")));
  EXPECT_THAT([&] { tensor.transpose(0, 1).view({12}); }, ThrowsMessage<Error>(HasSubstr("not contiguous")));
}

TEST(Tensor, TransposesAndFoldsIntoRows) {
  Exec exec;
  const Tensor tensor = counting(exec, {2, 3});
  EXPECT_THAT(to_vector<int32_t>(tensor.transpose(0, -1)), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_FALSE(tensor.transpose(0, 1).is_rows());
  EXPECT_THAT([&] { tensor.transpose(0, 1).as_rows(); }, ThrowsMessage<Error>(HasSubstr("fold into rows")));
  // Heads of fused rows: constant stride per token, but not across tokens and heads at once.
  const Tensor fused = counting(exec, {4, 5, 2});
  EXPECT_FALSE(fused.slice(1, 1, 3).is_rows());
  EXPECT_TRUE(fused.slice(2, 0, 1).is_rows());
  const Tensor rows = fused.slice(0, 1, 3).as_rows();
  EXPECT_EQ(rows.shape(), (Shape{10, 2}));
  EXPECT_EQ(to_vector<int32_t>(rows)[0], 10);
}

TEST(Tensor, LastOwnerReturnsTheBlock) {
  Exec exec;
  Tensor slice;
  {
    const Tensor tensor = exec.zeros({1000}, DType::kF32);
    EXPECT_TRUE(tensor.is_unique());
    slice = tensor.slice(0, 10, 20);
  }
  EXPECT_TRUE(slice.is_unique());
  EXPECT_GE(exec.ledger().current_bytes(), 4000);
  slice = Tensor();
  EXPECT_EQ(exec.ledger().current_bytes(), 0);
}

TEST(Exec, RefusesValuesThatDoNotFillTheShape) {
  Exec exec;
  const std::vector<float> values(5);
  EXPECT_THAT(
      [&] {
        exec.from_host<float>(values, {2, 3});
      },
      ThrowsMessage<Error>(HasSubstr("5 values do not fill shape [2, 3]")));
}

}  // namespace
}  // namespace megalith
