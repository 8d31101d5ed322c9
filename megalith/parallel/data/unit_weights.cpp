#include "megalith/parallel/data/unit_weights.h"

namespace megalith {

UnitWeights::UnitWeights(ParameterStore& store, std::array<ShareGroups, 2>& groups)
    : store_(&store), groups_(&groups), states_(store.units().size(), State::kHere) {
  if (store.sharing().is_shared()) states_.assign(states_.size(), State::kAway);
}

void UnitWeights::fetch(const ParameterUnit& unit, Exec& exec) {
  if (state(unit) != State::kAway) return;
  const OwnerScope scope(exec.ledger(), "gathered weights");
  for (const bool is_expert : {false, true}) {
    const FlatRange range = is_expert ? unit.expert : unit.dense;
    if (range.size() == 0 || group(is_expert) == nullptr) continue;
    Tensor whole;
    if (store_->sharing().shards_weights) {
      whole = exec.empty({range.size()}, store_->dtype());
      store_->bind_data(unit, is_expert, whole);
    } else {
      whole = store_->held_data(unit, is_expert);
    }
    group(is_expert)->all_gather(store_->share_of_data(unit, is_expert), whole, unit.name);
  }
  state(unit) = State::kArriving;
}

void UnitWeights::need(const ParameterUnit& unit, Exec& exec) {
  fetch(unit, exec);
  if (state(unit) == State::kHere) return;
  for (const bool is_expert : {false, true})
    if (group(is_expert) != nullptr) group(is_expert)->wait();
  for (State& other : states_)
    if (other == State::kArriving) other = State::kHere;
}

void UnitWeights::release(const ParameterUnit& unit) {
  if (!store_->sharing().shards_weights || state(unit) == State::kAway) return;
  for (const bool is_expert : {false, true})
    if (group(is_expert) != nullptr) store_->bind_data(unit, is_expert, {});
  state(unit) = State::kAway;
}

void UnitWeights::outdate() {
  if (!store_->sharing().is_shared()) return;
  for (const auto& unit : store_->units()) {
    release(*unit);
    state(*unit) = State::kAway;
  }
}

}  // namespace megalith
