#pragma once
// defines: TokenDrop, DropArgs, drop_over_capacity, ExpertOrder, SortArgs, sort_by_expert, numbers_on_host

#include <vector>

#include "megalith/core/exec.h"
#include "megalith/ops/row_map.h"

namespace megalith {

/// Which of the tokens of an expert stay when it has room for `capacity` of them: those of the largest
/// weights (ties by place), or the first ones.
enum class TokenDrop { kProbs, kPosition };

/// Choices that find no room in their expert become -1. experts [T, k] i32, probs [T, k].
struct DropArgs {
  Tensor experts;
  Tensor probs;  // f32 or f64
  int64_t num_experts = 0;
  int64_t capacity = 0;
  TokenDrop policy = TokenDrop::kProbs;
};
Tensor drop_over_capacity(const DropArgs& args, Exec& exec);

/// Rows of tokens, one for each choice of an expert, sorted by expert; those of an expert lie in the order of
/// the tokens.
struct ExpertOrder {
  RowMap tokens;   ///< N = T tokens to M rows, K = k
  RowMap choices;  ///< N = T k choices, the elements of experts, to M rows, K = 1
  Tensor offsets;  // [num_experts + 1] i32: rows of expert first_expert + e begin at offsets[e]
};

/// Sorts the choices of experts [first_expert, first_expert + num_experts); others, and -1, get no row. On a
/// GPU the host waits for the number of rows, unless it follows from the arguments: with rows_per_expert,
/// is_complete or max_rows.
struct SortArgs {
  Tensor experts;  // [T, k] i32
  int64_t first_expert = 0, num_experts = 0;
  int64_t rows_per_expert = 0;  ///< above 0: every expert gets that many, zeros behind its tokens
  bool is_complete = false;     ///< every choice is of one of these experts
  /// Above 0: M is that many, of which offsets say how many there are, the others unused; choices that would
  /// come behind them get no row.
  int64_t max_rows = 0;
  /// Above 0: rows of the tokens behind so many are counted, but hold zeros.
  int64_t max_tokens = 0;
  Tensor dropped;  ///< [1] f64 or undefined: grows by the choices that get no row for these reasons
};
ExpertOrder sort_by_expert(const SortArgs& args, Exec& exec);

/// The values of an i32 tensor. On a GPU the host waits for what its rank's stream was asked before.
std::vector<int64_t> numbers_on_host(const Tensor& numbers, Exec& exec);

}  // namespace megalith
