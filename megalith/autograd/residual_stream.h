#pragma once
// defines: ResidualStream, joined

#include "megalith/autograd/functions/add.h"
#include "megalith/comm/communicator.h"

namespace megalith {

/// The hidden states between layers: x alone where the product of the last branch made the sum, or x +
/// branch, a sum that nobody has made yet; the norm that comes next makes it in its own pass.
struct ResidualStream {
  Var x;                             // [T, H]
  Var branch = {};                   // [T, H], or undefined: x alone
  Communicator* terms_of = nullptr;  // the branch is yet to be summed over these n ranks: a term [n T, H]
};

/// The sum itself, where the stream leaves this tape.
inline Var joined(Tape& tape, const ResidualStream& stream) {
  if (!stream.branch.data.defined()) return stream.x;
  Var branch = stream.branch;
  if (stream.terms_of != nullptr) {
    branch.data = tape.exec().empty(stream.x.data.shape(), stream.x.data.dtype());
    stream.terms_of->reduce_scatter(stream.branch.data, branch.data, ReduceOp::kSum, "residual stream");
  }
  return add(tape, branch, stream.x);
}

}  // namespace megalith
