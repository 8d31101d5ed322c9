#pragma once
// defines: ArrivalArgs, Arrival, arrival_order

#include <vector>

#include "megalith/core/exec.h"
#include "megalith/ops/row_map.h"

namespace megalith {

/// Rows that were received lie in blocks of `block_length`, one for each expert-tensor rank; in a block those
/// of each sender follow each other, and of a sender those of each expert.
struct ArrivalArgs {
  std::vector<int64_t> counts;  ///< [blocks, senders, experts]: rows
  int64_t num_blocks = 1, num_senders = 1, num_experts = 1;
  int64_t block_length = 0;
};

/// The same rows sorted by expert, without what lies behind a block's rows.
struct Arrival {
  RowMap map;
  Tensor offsets;  // [experts + 1] i32
};
Arrival arrival_order(const ArrivalArgs& args, Exec& exec);

}  // namespace megalith
