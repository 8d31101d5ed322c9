#pragma once
// defines: UnitWeights

#include <array>
#include <vector>

#include "megalith/parallel/data/data_sharing.h"

namespace megalith {

/// Brings the weights of units together from the shares of a group, beside compute. With sharded weights a
/// unit's buffer lives from fetch() to release(); else it is the store's, and only what the optimizer changed
/// is fetched.
class UnitWeights {
 public:
  /// Groups of the dense and of the expert parameters.
  UnitWeights(ParameterStore& store, std::array<ShareGroups, 2>& groups);

  /// Begins to gather, where the unit is not here and not on its way.
  void fetch(const ParameterUnit& unit, Exec& exec);
  /// The kernels that are called next may read the unit.
  void need(const ParameterUnit& unit, Exec& exec);
  /// With sharded weights: the unit's memory goes back.
  void release(const ParameterUnit& unit);
  /// The owned shares have changed: what is here or on its way is old.
  void outdate();

 private:
  enum class State : uint8_t { kAway, kArriving, kHere };
  Communicator* group(bool is_expert) const { return (*groups_)[is_expert ? 1 : 0].gather.get(); }
  State& state(const ParameterUnit& unit) { return states_[static_cast<size_t>(unit.index)]; }

  ParameterStore* store_;
  std::array<ShareGroups, 2>* groups_;
  std::vector<State> states_;  // by unit
};

}  // namespace megalith
