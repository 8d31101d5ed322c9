#pragma once
// defines: SplitCase, SplitOutcome, run_split_case, expect_close

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "megalith/autograd/functions/collectives.h"
#include "megalith/autograd/functions/column_parallel_linear.h"
#include "megalith/autograd/functions/swiglu_linear.h"
#include "megalith/ops/elementwise.h"

namespace megalith::testing {

/// One tensor-parallel layer, forward and backward, of a rank: its products whole, with collectives in line,
/// or split.
struct SplitCase {
  enum class Layer { kColumn, kRow, kSwigluRow };
  Layer layer = Layer::kColumn;
  DType dtype = DType::kF32;
  bool splits_products = false;
  bool is_deferred = false;
  bool has_bias = false;
  int64_t tokens = 6, hidden = 8, ffn = 12;  ///< of a rank
};

/// By name: "y", "d_x", "gradients".
using SplitOutcome = std::map<std::string, std::vector<double>>;

/// Whole numbers from -1 to 1: sums of products are exact, whatever their order, so that every way to make
/// them has the same bits. They differ from rank to rank, the weights not.
inline Tensor whole_numbers(const Shape& shape, DType dtype, uint64_t seed, Exec& exec) {
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  const RngKey rng{seed, 0};
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(rng.bits(i) % 3) - 1.0F;
  const Tensor exact = exec.from_host<float>(values, shape), x = exec.empty(shape, dtype);
  copy(exact, x, exec);
  return x;
}

inline SplitOutcome run_split_case(const SplitCase& c, Communicator& in_line, Communicator& beside,
                                   Exec& exec) {
  const bool is_column = c.layer == SplitCase::Layer::kColumn;
  const bool is_swiglu = c.layer == SplitCase::Layer::kSwigluRow;
  const TensorGroups groups{&in_line, &beside, true, c.splits_products};
  ParameterStore store;
  Parameter& weight =
      store.add({"weight", is_column ? Shape{c.ffn, c.hidden} : Shape{c.hidden, c.ffn}, Init::ones()});
  Parameter* bias = c.has_bias ? &store.add({"bias", {is_column ? c.ffn : c.hidden}, Init::ones()}) : nullptr;
  store.materialize(exec, c.dtype);
  store.initialize(exec);
  store.allocate_gradients(exec);
  store.mark_gradients_fresh();
  const auto seed = static_cast<uint64_t>(100 + in_line.rank());
  copy(whole_numbers(weight.data.shape(), c.dtype, seed, exec), weight.data, exec);

  const int64_t all_tokens = c.tokens * in_line.size();
  const int64_t width = is_swiglu ? 2 * c.ffn : is_column ? c.hidden : c.ffn;
  Tape tape(exec);
  const Var x =
      tape.leaf(whole_numbers({is_column ? c.tokens : all_tokens, width}, c.dtype, seed + 100, exec));
  const LinearBias added{bias, is_column || in_line.rank() == 0};
  Var y;
  if (is_column) {
    y = column_parallel_linear(tape, x, weight, added, groups);
  } else {
    y = is_swiglu ? swiglu_linear(tape, swiglu(tape, x), weight, groups.split_beside())
                  : linear(tape, x, weight, added, groups.split_beside());
    if (!c.splits_products) y = reduce_scatter_rows(tape, y, in_line);
  }
  WgradQueue queue;
  tape.backward(y, whole_numbers(y.data.shape(), c.dtype, seed + 200, exec),
                c.is_deferred ? &queue : nullptr);
  queue.drain(exec);
  return {{"y", to_vector<double>(y.data)},
          {"d_x", to_vector<double>(tape.gradient(x))},
          {"gradients", to_vector<double>(store.flat_grad())}};
}

/// To the bit, but after SwiGLU, whose rows are no whole numbers: there the order of a product's sums shows,
/// which may depend on the number of its rows.
inline void expect_close(const SplitOutcome& actual, const SplitOutcome& expected, const SplitCase& c,
                         const std::string& where) {
  const bool is_exact = c.layer != SplitCase::Layer::kSwigluRow;
  const double allowed = is_exact ? 0 : c.dtype == DType::kF64 ? 1e-14 : c.dtype == DType::kF32 ? 1e-5 : 2e-2;
  for (const auto& [name, values] : actual) {
    const std::vector<double>& wanted = expected.at(name);
    ASSERT_EQ(values.size(), wanted.size()) << name;
    double worst = 0, largest = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      worst = std::max(worst, std::abs(values[i] - wanted[i]));
      largest = std::max(largest, std::abs(wanted[i]));
    }
    EXPECT_LE(worst, allowed * largest) << name << ", " << name_of(c.dtype) << ", " << where;
    EXPECT_GT(largest, 0) << name << ", " << where;
  }
}

}  // namespace megalith::testing
