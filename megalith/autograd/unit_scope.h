#pragma once
// defines: UnitScope, in_units

#include "megalith/autograd/parameter.h"
#include "megalith/autograd/tape.h"

namespace megalith {

/// A use of parameter units in a forward pass: calls the store's hooks (if any) around what is computed
/// between the constructor and leave(), and leaves marks on the tape from which the backward calls them.
class UnitScope {
 public:
  UnitScope(Tape& tape, const ParameterStore& store, const UnitUse& use);
  void leave();

 private:
  Tape* tape_;
  UnitHooks* hooks_;
  const UnitUse* use_;
};

/// forward() within a use of units.
template <class Forward>
auto in_units(Tape& tape, const ParameterStore& store, const UnitUse& use, Forward forward) {
  UnitScope scope(tape, store, use);
  auto result = forward();
  scope.leave();
  return result;
}

}  // namespace megalith
