#pragma once
// defines: TensorGroups, SharedRows, column_parallel_linear

#include "megalith/autograd/functions/linear.h"
#include "megalith/comm/communicator.h"

namespace megalith {

/// The tensor-parallel ranks, as a group whose operations stand in line with the kernels and one whose
/// operations run beside them. Both must outlive the tape.
struct TensorGroups {
  Communicator* in_line = nullptr;
  Communicator* beside = nullptr;
  bool is_sequence_parallel = false;
  bool splits_products = false;  ///< under sequence parallelism products hide what travels (split_products.h)

  Communicator* split_beside() const { return splits_products ? beside : nullptr; }
};

/// Rows of this rank, and those of all ranks where something has gathered them.
struct SharedRows {
  SharedRows(Var rows, Tensor all = {}) : own(std::move(rows)), whole(std::move(all)) {}
  Var own;
  Tensor whole;
};

/// y = X W^T (+ b) for a rank's share of the outputs: weight [out / n, in], y [T, out / n]. X [T, in] is x,
/// which all ranks hold alike, or under sequence parallelism the ranks' x [T / n, in] in rank order (Shoeybi
/// et al. 2019; Korthikanti et al. 2022).
///
/// The backward hides its communication behind its two products, unless the weight gradient is put off: X is
/// gathered again beside the product for its gradient, and that gradient is summed over the ranks beside the
/// product for the weight's. With split products the forward hides its gather too, and the backward the sum
/// where the weight gradient is put off.
Var column_parallel_linear(Tape& tape, const SharedRows& shared, Parameter& weight, LinearBias bias,
                           const TensorGroups& groups);

}  // namespace megalith
