#include "megalith/parallel/data/data_parallel.h"

#include <algorithm>

namespace megalith {
namespace {

std::array<ShareGroups, 2> share_groups(const ParameterStore& store, const Mesh& mesh) {
  std::array<ShareGroups, 2> groups;
  groups[0] = ShareGroups::split(mesh.dp_cp(), store.sharing().dense);
  if (store.expert_range().size() > 0) groups[1] = ShareGroups::split(mesh.edp(), store.sharing().expert);
  return groups;
}

}  // namespace

DataParallel::DataParallel(ParameterStore& store, const Mesh& mesh)
    : store_(&store),
      config_(&mesh.config()),
      groups_(share_groups(store, mesh)),
      weights_(store, groups_),
      gradients_(store, mesh, groups_),
      progress_(store.units().size()) {
  if (store.sharing().shards_weights && store.sharing().is_shared())
    for (const auto& unit : store.units())
      MG_CHECK(unit->num_uses > 0 || unit->parameters.empty(),
               "optim_grads_params: the model does not say where '{}' is used", unit->name);
  const bool has_peers = mesh.dp_cp().size() > 1 || mesh.edp().size() > 1;
  if (has_peers) store.set_hooks(this);
}

DataParallel::~DataParallel() {
  if (store_->hooks() == this) store_->set_hooks(nullptr);
}

void DataParallel::begin_step(int64_t num_microbatches) {
  num_microbatches_ = num_microbatches;
  progress_.assign(progress_.size(), {});
  gradients_.begin_step();
}

bool DataParallel::may_reduce_early(const ParameterUnit& unit) const {
  if (gradients_.are_sharded(false)) return true;
  return config_->overlap_grad_reduce &&
         std::none_of(unit.parameters.begin(), unit.parameters.end(),
                      [](const Parameter* parameter) { return parameter->spec.is_shared_by_stages; });
}

void DataParallel::need(const UnitUse& use, int next, Exec& exec) {
  for (const ParameterUnit* unit : use.units) weights_.need(*unit, exec);
  if (next < 0 || next >= static_cast<int>(store_->uses().size())) return;
  const UnitUse& other = *store_->uses()[static_cast<size_t>(next)];
  if (other.chunk != use.chunk || !config_->overlap_param_gather) return;
  if (next < use.index && !other.reads_weights_in_backward) return;
  for (const ParameterUnit* unit : other.units) weights_.fetch(*unit, exec);
}

void DataParallel::begin_computing(const UnitUse& use) {
  for (const ParameterUnit* unit : use.units) ++progress_[static_cast<size_t>(unit->index)].num_computing;
}

void DataParallel::end_computing(const UnitUse& use, Weights weights) {
  for (const ParameterUnit* unit : use.units) {
    const int others = --progress_[static_cast<size_t>(unit->index)].num_computing;
    if (others == 0 && weights == Weights::kRelease) weights_.release(*unit);
  }
}

void DataParallel::before_forward(const UnitUse& use, Exec& exec) {
  need(use, use.index + 1, exec);
  begin_computing(use);
}

void DataParallel::after_forward(const UnitUse& use, Exec&) {
  // The backward of the head follows its forward at once.
  const bool releases = config_->reshard_after_forward && !use.writes_gradients_in_forward;
  end_computing(use, releases ? Weights::kRelease : Weights::kKeep);
}

void DataParallel::before_backward(const UnitUse& use, Exec& exec) {
  if (use.reads_weights_in_backward) need(use, use.index - 1, exec);
  begin_computing(use);
  for (const ParameterUnit* unit : use.units) ++progress_[static_cast<size_t>(unit->index)].num_open;
}

void DataParallel::after_backward(const UnitUse& use, Exec&) {
  end_computing(use, Weights::kRelease);
}

void DataParallel::before_gradients(const UnitUse& use, Exec& exec) {
  for (const ParameterUnit* unit : use.units) gradients_.open(*unit, exec);
}

void DataParallel::gradients_done(const UnitUse& use, Exec& exec) {
  for (const ParameterUnit* unit : use.units) {
    Progress& progress = progress_[static_cast<size_t>(unit->index)];
    --progress.num_open;
    ++progress.num_done;
    if (progress.num_open > 0 || progress.num_done % unit->num_uses != 0) continue;
    const bool is_last = progress.num_done == num_microbatches_ * unit->num_uses;
    if (!is_last)
      gradients_.reduce(*unit, UnitGradients::Sum::kEarlier, exec);
    else if (may_reduce_early(*unit))
      reduce_last(*unit, exec);
  }
}

void DataParallel::reduce_last(const ParameterUnit& unit, Exec& exec) {
  gradients_.reduce(unit, UnitGradients::Sum::kLast, exec);
  progress_[static_cast<size_t>(unit.index)].is_reduced = true;
}

void DataParallel::finish_gradients(Exec& exec) {
  for (const auto& unit : store_->units())
    if (!progress_[static_cast<size_t>(unit->index)].is_reduced) reduce_last(*unit, exec);
  gradients_.finish(exec);
}

void DataParallel::weights_changed(Exec& exec) {
  weights_.outdate();
  if (store_->sharing().shards_weights || !store_->sharing().is_shared()) return;
  if (config_->overlap_param_gather && !store_->uses().empty()) {
    for (const ParameterUnit* unit : store_->uses().front()->units) weights_.fetch(*unit, exec);
    return;
  }
  for (const auto& unit : store_->units()) weights_.fetch(*unit, exec);
  for (const auto& unit : store_->units()) weights_.need(*unit, exec);
}

}  // namespace megalith
