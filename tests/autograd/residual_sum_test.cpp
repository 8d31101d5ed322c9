// A residual added in the pass of a product, beside product and sum: whole numbers, so that one rounding and
// two give the same bits, values and gradients.

#include <gtest/gtest.h>

#include "megalith/autograd/functions/add.h"
#include "megalith/autograd/functions/linear.h"
#include "megalith/autograd/functions/swiglu_linear.h"

#include "tests/autograd/split_case.h"

namespace megalith {
namespace {

using testing::whole_numbers;

constexpr int64_t kTokens = 9, kHidden = 8;

enum class Sum { kInProduct, kBehind };
enum class Layer { kLinear, kSwiglu };
struct ResidualCase {
  Layer layer = Layer::kLinear;
  DType dtype = DType::kF32;
  bool is_deferred = false;
  bool is_own_input = false;  // the residual is what the layer reads
};
using Outcome = std::map<std::string, std::vector<double>>;

Outcome run(Sum sum, const ResidualCase& c) {
  Exec exec({.num_threads = 1});
  ParameterStore store;
  Parameter& weight = store.add({"weight", {kHidden, kHidden}, Init::ones()});
  store.materialize(exec, c.dtype);
  store.allocate_gradients(exec);
  store.mark_gradients_fresh();
  copy(whole_numbers(weight.data.shape(), c.dtype, 1, exec), weight.data, exec);
  Tape tape(exec);
  const bool is_swiglu = c.layer == Layer::kSwiglu;
  const Var x = tape.leaf(whole_numbers({kTokens, is_swiglu ? 2 * kHidden : kHidden}, c.dtype, 2, exec));
  const Var residual = c.is_own_input ? x : tape.leaf(whole_numbers({kTokens, kHidden}, c.dtype, 3, exec));
  const SwigluRows rows{x, whole_numbers({kTokens, kHidden}, c.dtype, 4, exec)};
  Var out;
  if (sum == Sum::kInProduct)
    out = is_swiglu ? swiglu_linear_sum(tape, rows, weight, residual) : linear_sum(tape, x, weight, residual);
  else
    out = add(tape, is_swiglu ? swiglu_linear(tape, rows, weight) : linear(tape, x, weight), residual);
  WgradQueue queue;
  tape.backward(out, whole_numbers(out.data.shape(), c.dtype, 5, exec), c.is_deferred ? &queue : nullptr);
  queue.drain(exec);
  return {{"sum", to_vector<double>(out.data)},
          {"d_x", to_vector<double>(tape.gradient(x))},
          {"d_residual", to_vector<double>(tape.gradient(residual))},
          {"d_weight", to_vector<double>(weight.main_grad)}};
}

TEST(ResidualSum, InTheProductHasTheBitsOfTheSumBehindIt) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
    for (const Layer layer : {Layer::kLinear, Layer::kSwiglu}) {
      for (const bool is_deferred : {false, true}) {
        for (const bool is_own_input : {false, true}) {
          if (is_own_input && layer == Layer::kSwiglu) continue;  // of another width
          const ResidualCase c{layer, dtype, is_deferred, is_own_input};
          const Outcome expected = run(Sum::kBehind, c);
          for (const auto& [what, values] : expected)
            EXPECT_NE(values, std::vector<double>(values.size())) << what;
          EXPECT_EQ(run(Sum::kInProduct, c), expected) << name_of(dtype) << ", own input " << is_own_input;
        }
      }
    }
  }
}

}  // namespace
}  // namespace megalith
