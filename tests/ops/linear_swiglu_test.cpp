#include "megalith/ops/linear_swiglu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/ops/activation.h"
#include "megalith/ops/gemm.h"

#include "tests/ops/conformance.h"

namespace megalith {
namespace {

using namespace conformance;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(LinearSwiglu, IsProductThenActivation) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const Layout layout : kLayouts) {
      const int64_t tokens = 5, hidden = 12, ffn = 7;
      const Tensor x = random_tensor(exec, {tokens, hidden}, dtype, 1, layout);
      const Tensor weight = random_tensor(exec, {2 * ffn, hidden}, dtype, 2);
      const Tensor pre = poisoned_tensor(exec, {tokens, 2 * ffn}, dtype, layout);
      const Tensor y = poisoned_tensor(exec, {tokens, ffn}, dtype, layout);
      linear_swiglu({.x = x, .weight = weight, .pre = pre, .y = y}, exec);
      const Tensor product = exec.empty(pre.shape(), dtype), expected = exec.empty(y.shape(), dtype);
      gemm({.a = x, .b = weight, .c = product, .transpose_b = Transpose::kYes}, exec);
      activation(ActivationKind::kSwiglu, product, expected, exec);
      EXPECT_EQ(bits_of(pre), bits_of(product));
      EXPECT_EQ(bits_of(y), bits_of(expected));
    }
  });
}

TEST(LinearSwiglu, BackwardIsProductThenActivationBackward) {
  for_each_variant([](DType dtype, Exec& exec) {
    const int64_t tokens = 5, hidden = 12, ffn = 7;
    const Tensor d_out = random_tensor(exec, {tokens, hidden}, dtype, 1);
    const Tensor weight = random_tensor(exec, {hidden, ffn}, dtype, 2);
    const Tensor pre = random_tensor(exec, {tokens, 2 * ffn}, dtype, 3);
    const Tensor d_y = exec.empty({tokens, ffn}, dtype), expected = exec.empty(pre.shape(), dtype);
    gemm({.a = d_out, .b = weight, .c = d_y}, exec);
    activation_backward(ActivationKind::kSwiglu, pre, d_y, expected, exec);
    const Tensor d_pre = poisoned_tensor(exec, pre.shape(), dtype);
    swiglu_linear_backward_input({.d_out = d_out, .weight = weight, .pre = pre, .d_pre = d_pre}, exec);
    EXPECT_EQ(bits_of(d_pre), bits_of(expected));
    const Tensor y = poisoned_tensor(exec, d_y.shape(), dtype);
    const Tensor again = poisoned_tensor(exec, pre.shape(), dtype);
    swiglu_linear_backward_input({.d_out = d_out, .weight = weight, .pre = pre, .d_pre = again, .y = y},
                                 exec);
    EXPECT_EQ(bits_of(again), bits_of(expected));
    activation(ActivationKind::kSwiglu, pre, d_y, exec);
    EXPECT_EQ(bits_of(y), bits_of(d_y));
  });
}

TEST(LinearSwiglu, WrongShapesAreNamed) {
  Exec exec;
  const auto matrix = [&](int64_t rows, int64_t cols) { return exec.zeros({rows, cols}, DType::kF32); };
  const auto message = [](const char* text) { return ThrowsMessage<Error>(HasSubstr(text)); };
  EXPECT_THAT(
      [&] {
        linear_swiglu({.x = matrix(4, 3), .weight = matrix(9, 3), .pre = matrix(4, 10), .y = matrix(4, 5)},
                      exec);
      },
      message("linear_swiglu: weight"));
  EXPECT_THAT(
      [&] {
        linear_swiglu({.x = matrix(4, 3), .weight = matrix(10, 3), .pre = matrix(4, 9), .y = matrix(4, 5)},
                      exec);
      },
      message("linear_swiglu: pre"));
  EXPECT_THAT(
      [&] {
        swiglu_linear_backward_input(
            {.d_out = matrix(4, 3), .weight = matrix(2, 5), .pre = matrix(4, 10), .d_pre = matrix(4, 10)},
            exec);
      },
      message("swiglu_linear_backward_input: weight"));
  EXPECT_THAT(
      [&] {
        swiglu_linear_backward_input({.d_out = matrix(4, 3),
                                      .weight = matrix(3, 5),
                                      .pre = matrix(4, 10),
                                      .d_pre = matrix(4, 10),
                                      .y = matrix(4, 6)},
                                     exec);
      },
      message("swiglu_linear_backward_input: y"));
  const Tensor pre = matrix(4, 10);
  EXPECT_THAT(
      [&] {
        swiglu_linear_backward_input(
            {.d_out = matrix(4, 3), .weight = matrix(3, 5), .pre = pre, .d_pre = pre}, exec);
      },
      message("d_pre is pre itself"));
}

}  // namespace
}  // namespace megalith
