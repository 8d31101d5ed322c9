#pragma once
// defines: ResidualStream, joined

#include "megalith/autograd/functions/add.h"

namespace megalith {

/// The hidden states between layers: x + branch, a sum that nobody has made yet. The norm that comes next
/// makes it in its own pass.
struct ResidualStream {
  Var x;            // [T, H]
  Var branch = {};  // [T, H], or undefined: x alone
};

/// The sum itself, where the stream leaves this tape.
inline Var joined(Tape& tape, const ResidualStream& stream) {
  return stream.branch.data.defined() ? add(tape, stream.branch, stream.x) : stream.x;
}

}  // namespace megalith
