#pragma once
// defines: add

#include "megalith/autograd/tape.h"

namespace megalith {

/// a + b, same shape.
Var add(Tape& tape, const Var& a, const Var& b);

}  // namespace megalith
