#include "megalith/parallel/data/unit_gradients.h"

#include <algorithm>

#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

constexpr std::array<bool, 2> kKinds = {false, true};

FlatRange range_of(const ParameterUnit& unit, bool is_expert) {
  return is_expert ? unit.expert : unit.dense;
}

// What lies between and behind the parameters must be zero: norms run over it.
void clear_padding(const ParameterUnit& unit, bool is_expert, const Tensor& whole, Exec& exec) {
  const int64_t base = range_of(unit, is_expert).begin;
  int64_t end = 0;
  const auto clear_to = [&](int64_t begin) {
    if (end < begin) fill(whole.slice(0, end, begin), 0, exec);
  };
  for (const Parameter* parameter : unit.parameters) {
    if (parameter->spec.is_expert != is_expert) continue;
    clear_to(parameter->flat_begin - base);
    end = parameter->flat_begin - base + parameter->numel();
  }
  clear_to(whole.numel());
}

void put(const Tensor& arrived, const Tensor& share, bool is_added, Exec& exec) {
  if (!is_added) return copy(arrived, share, exec);
  Tensor term = arrived;
  if (arrived.dtype() != share.dtype()) {
    term = exec.empty(share.shape(), share.dtype());
    copy(arrived, term, exec);
  }
  add(share, term, share, exec);
}

}  // namespace

UnitGradients::UnitGradients(ParameterStore& store, const Mesh& mesh, std::array<ShareGroups, 2>& groups)
    : store_(&store),
      mesh_(&mesh),
      groups_(&groups),
      whole_(2 * store.units().size()),
      has_sum_(2 * store.units().size()) {}

bool UnitGradients::are_sharded(bool is_expert) const {
  return store_->sharing().shards_gradients && groups(is_expert).reduce != nullptr;
}

void UnitGradients::begin_step() {
  store_->mark_gradients_fresh();
  has_sum_.assign(has_sum_.size(), false);
}

void UnitGradients::open(const ParameterUnit& unit, Exec& exec) {
  for (const bool is_expert : kKinds) {
    Tensor& whole = whole_[place(unit, is_expert)];
    const FlatRange range = range_of(unit, is_expert);
    if (!are_sharded(is_expert) || range.size() == 0 || whole.defined()) continue;
    const OwnerScope scope(exec.ledger(), "gradients");
    whole = exec.empty({range.size()}, store_->gradient_dtype());
    clear_padding(unit, is_expert, whole, exec);
    store_->bind_grad(unit, is_expert, whole);
    for (Parameter* parameter : unit.parameters)
      if (parameter->spec.is_expert == is_expert) parameter->grad_is_fresh = true;
  }
}

void UnitGradients::reduce(const ParameterUnit& unit, Sum sum, Exec& exec) {
  store_->finish_gradients(unit, exec);
  for (const bool is_expert : kKinds) {
    if (range_of(unit, is_expert).size() == 0) continue;
    if (are_sharded(is_expert)) {
      if (whole_[place(unit, is_expert)].defined()) send(unit, is_expert, sum, exec);
    } else if (sum == Sum::kLast) {
      sum_terms_of_layer(unit, is_expert);
      if (groups(is_expert).reduce != nullptr)
        send(unit, is_expert, sum, exec);
      else
        add_to_bucket(unit, is_expert, exec);
    }
  }
}

// Where tensor-parallel ranks, or the first and the last stage, hold terms of a gradient.
void UnitGradients::sum_terms_of_layer(const ParameterUnit& unit, bool is_expert) {
  for (const Parameter* parameter : unit.parameters) {
    if (parameter->spec.is_expert != is_expert) continue;
    if (parameter->spec.gradient_is_partial)
      mesh_->tp().all_reduce(parameter->main_grad, ReduceOp::kSum, parameter->name());
    if (parameter->spec.is_shared_by_stages)
      mesh_->embedding_group()->all_reduce(parameter->main_grad, ReduceOp::kSum, parameter->name());
  }
}

// The same after the other sums, of the shares alone: all these ranks own the same stretches.
void UnitGradients::sum_terms_of_shares() {
  store_->visit_owned_gradients([&](const Parameter& parameter, int64_t, const Tensor& gradient) {
    if (!are_sharded(parameter.spec.is_expert)) return;
    if (parameter.spec.gradient_is_partial)
      mesh_->tp().all_reduce(gradient, ReduceOp::kSum, parameter.name());
    if (parameter.spec.is_shared_by_stages)
      mesh_->embedding_group()->all_reduce(gradient, ReduceOp::kSum, parameter.name());
  });
}

DType UnitGradients::wire_dtype() const {
  return mesh_->config().grad_reduce_in_bf16 ? DType::kBF16 : store_->gradient_dtype();
}

Tensor UnitGradients::to_send(const Tensor& gradients, Exec& exec) const {
  if (gradients.dtype() == wire_dtype()) return gradients;
  const OwnerScope scope(exec.ledger(), "gradients");
  const Tensor sent = exec.empty(gradients.shape(), wire_dtype());
  copy(gradients, sent, exec);
  return sent;
}

void UnitGradients::send(const ParameterUnit& unit, bool is_expert, Sum sum, Exec& exec) {
  // What is on its way holds memory, or has something to be done when it arrives.
  if (store_->sharing().shards_gradients || wire_dtype() != store_->gradient_dtype() ||
      groups(is_expert).replicas != nullptr)
    take_arrivals(exec);
  Tensor& open = whole_[place(unit, is_expert)];
  const size_t at = place(unit, is_expert);
  const Tensor whole = open.defined() ? open : store_->held_grad(unit, is_expert);
  Arrival arrival{.is_expert = is_expert,
                  .sum = sum,
                  .sent = to_send(whole, exec),
                  .arrived = {},
                  .share = store_->share_of_grad(unit, is_expert),
                  .is_added = has_sum_[at]};
  const bool is_direct = !arrival.is_added && arrival.sent.dtype() == arrival.share.dtype();
  arrival.arrived = is_direct ? arrival.share : exec.empty(arrival.share.shape(), arrival.sent.dtype());
  groups(is_expert).reduce->reduce_scatter(arrival.sent, arrival.arrived, ReduceOp::kSum, unit.name);
  arrivals_.push_back(std::move(arrival));
  has_sum_[at] = true;
  if (!open.defined()) return;
  open = {};
  store_->bind_grad(unit, is_expert, {});
}

void UnitGradients::take_arrivals(Exec& exec) {
  if (arrivals_.empty()) return;
  for (const bool is_expert : kKinds)
    if (groups(is_expert).reduce != nullptr) groups(is_expert).reduce->wait();
  while (!arrivals_.empty()) {
    const Arrival arrival = std::move(arrivals_.front());
    arrivals_.pop_front();
    if (arrival.arrived.raw() != arrival.share.raw())
      put(arrival.arrived, arrival.share, arrival.is_added, exec);
    if (arrival.sum == Sum::kLast) sum_replicas(arrival.is_expert, arrival.share, exec);
  }
}

void UnitGradients::sum_replicas(bool is_expert, const Tensor& share, Exec& exec) {
  Communicator* group = groups(is_expert).replicas.get();
  if (group == nullptr) return;
  const Tensor sent = to_send(share, exec);
  group->all_reduce(sent, ReduceOp::kSum, "replicas");
  if (sent.raw() != share.raw())
    replicated_.push_back(
        {.is_expert = is_expert, .sum = Sum::kLast, .sent = {}, .arrived = sent, .share = share});
}

// A backward finishes units from the last to the first.
void UnitGradients::add_to_bucket(const ParameterUnit& unit, bool is_expert, Exec& exec) {
  if (store_->sharing().is_shared())
    return sum_replicas(is_expert, store_->share_of_grad(unit, is_expert), exec);
  FlatRange& bucket = buckets_[is_expert ? 1 : 0];
  const FlatRange range = range_of(unit, is_expert);
  if (bucket.size() > 0 && range.end != bucket.begin && range.begin != bucket.end)
    sum_bucket(is_expert, exec);
  bucket = bucket.size() == 0
               ? range
               : FlatRange{std::min(bucket.begin, range.begin), std::max(bucket.end, range.end)};
  if (bucket.size() >= mesh_->config().ddp_bucket_size) sum_bucket(is_expert, exec);
}

void UnitGradients::sum_bucket(bool is_expert, Exec& exec) {
  FlatRange& bucket = buckets_[is_expert ? 1 : 0];
  if (bucket.size() > 0)
    sum_replicas(is_expert, store_->flat_grad().slice(0, bucket.begin, bucket.end), exec);
  bucket = {};
}

void UnitGradients::finish(Exec& exec) {
  for (const auto& unit : store_->units()) {
    for (const bool is_expert : kKinds) {
      if (!are_sharded(is_expert) || range_of(*unit, is_expert).size() == 0) continue;
      if (has_sum_[place(*unit, is_expert)]) continue;
      fill(store_->share_of_grad(*unit, is_expert), 0, exec);
    }
  }
  take_arrivals(exec);
  for (const bool is_expert : kKinds) sum_bucket(is_expert, exec);
  for (const bool is_expert : kKinds)
    if (groups(is_expert).replicas != nullptr) groups(is_expert).replicas->wait();
  for (const Arrival& arrival : replicated_) put(arrival.arrived, arrival.share, false, exec);
  replicated_.clear();
  sum_terms_of_shares();
}

}  // namespace megalith
