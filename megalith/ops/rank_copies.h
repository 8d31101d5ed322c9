#pragma once
// defines: RankCopies, RankCopiesArgs, copies_for_ranks, SentCopies, sent_copies

#include "megalith/core/exec.h"
#include "megalith/ops/row_map.h"

namespace megalith {

/// A token goes to a rank once, however many of its experts the rank holds. The copies for a rank stand in
/// the order of the tokens.
struct RankCopies {
  Tensor tokens;  // [R, T] i32: the tokens that go to each rank; behind the last one undefined
  Tensor places;  // [T, R] i32: where token t stands among those that go to rank r; -1: it does not
  Tensor counts;  // [R] i32: tokens that go to each rank
};

/// Expert e is held by rank e / experts_of_rank of num_ranks; -1 goes nowhere.
struct RankCopiesArgs {
  Tensor experts;  // [T, k] i32
  int64_t experts_of_rank = 1, num_ranks = 1;
};
RankCopies copies_for_ranks(const RankCopiesArgs& args, Exec& exec);

/// All copies, those for a rank behind those for the ranks before it.
struct SentCopies {
  RowMap tokens;   ///< T tokens to U copies, K = R
  Tensor experts;  // [U, k] i32: of the copies' tokens
};
/// `num_copies` is the sum of copies.counts.
SentCopies sent_copies(const RankCopies& copies, const Tensor& experts, int64_t num_copies, Exec& exec);

}  // namespace megalith
