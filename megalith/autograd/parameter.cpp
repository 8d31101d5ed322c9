#include "megalith/autograd/parameter.h"

#include <algorithm>

#include "megalith/base/math.h"
#include "megalith/base/text.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/random_fill.h"

namespace megalith {
namespace {
constexpr int64_t kStartPadding = 64;

std::vector<int64_t> blocks_of(const ParameterSpec& spec) {
  if (!spec.shard.blocks.empty()) return spec.shard.blocks;
  return {spec.shape[spec.shard.dim]};
}

FlatRange range_of(const ParameterUnit& unit, bool is_expert) {
  return is_expert ? unit.expert : unit.dense;
}

}  // namespace

Shape ParameterSpec::local_shape() const {
  if (shard.is_whole()) return shape;
  int64_t rows = 0;
  for (const int64_t block : blocks_of(*this)) {
    MG_CHECK(block % shard.count == 0, "{} {}: {} along dimension {} cannot be shared by {} ranks", name,
             shape.str(), block, shard.dim, shard.count);
    rows += block / shard.count;
  }
  Shape local = shape;
  local.set(shard.dim, rows);
  return local;
}

void ParameterSpec::visit_runs(const std::function<void(int64_t, int64_t, int64_t)>& run) const {
  if (shard.is_whole()) return run(0, 0, shape.numel());
  int64_t inner = 1, outer = 1;
  for (int i = shard.dim + 1; i < shape.rank(); ++i) inner *= shape[i];
  for (int i = 0; i < shard.dim; ++i) outer *= shape[i];
  int64_t local_begin = 0;
  for (int64_t row = 0; row < outer; ++row) {
    int64_t block_begin = row * shape[shard.dim] * inner;
    for (const int64_t block : blocks_of(*this)) {
      const int64_t length = block / shard.count * inner;
      run(block_begin + shard.index * length, local_begin, length);
      block_begin += block * inner;
      local_begin += length;
    }
  }
}

ParameterUnit& ParameterStore::begin_unit(const std::string& name) {
  MG_ASSERT(!flat_data_.defined());
  units_.push_back(std::make_unique<ParameterUnit>(
      ParameterUnit{.name = name, .index = static_cast<int>(units_.size()), .parameters = {}}));
  return *units_.back();
}

const UnitUse& ParameterStore::add_use(UnitUse use) {
  use.index = static_cast<int>(uses_.size());
  for (ParameterUnit* unit : use.units) ++unit->num_uses;
  uses_.push_back(std::make_unique<UnitUse>(std::move(use)));
  return *uses_.back();
}

Parameter& ParameterStore::add(ParameterSpec spec) {
  MG_ASSERT(!flat_data_.defined());
  for (const auto& other : parameters_)
    MG_CHECK(other->name() != spec.name, "parameter '{}' is added twice", spec.name);
  if (units_.empty()) begin_unit("model");
  parameters_.push_back(std::make_unique<Parameter>(Parameter{.spec = std::move(spec)}));
  units_.back()->parameters.push_back(parameters_.back().get());
  return *parameters_.back();
}

void ParameterStore::materialize(Exec& exec, DType dtype, const FlatSharing& sharing) {
  const OwnerScope scope(exec.ledger(), "parameters");
  dtype_ = dtype;
  gradient_dtype_ = sum_dtype();
  sharing_ = sharing;
  num_flat_ = 0;
  const auto place = [&](bool experts) {
    for (const auto& unit : units_) {
      const int64_t begin = num_flat_;
      for (Parameter* parameter : unit->parameters) {
        if (parameter->spec.is_expert != experts) continue;
        parameter->local_numel = parameter->spec.local_shape().numel();
        parameter->flat_begin = num_flat_;
        num_flat_ += round_up(parameter->local_numel, kStartPadding);
      }
      num_flat_ = begin + round_up(num_flat_ - begin, kStartPadding * sharing.of(experts).count);
      (experts ? unit->expert : unit->dense) = {begin, num_flat_};
    }
  };
  place(false);
  expert_begin_ = num_flat_;
  place(true);
  flat_data_ = exec.zeros({num_held(weights())}, dtype);
  if (!sharing.is_shared()) owned_.push_back({.range = {0, num_flat_}, .data = flat_data_, .grad = {}});
  for (const bool is_expert : {false, true}) {
    for (const auto& unit : units_) {
      if (range_of(*unit, is_expert).size() == 0) continue;
      const bool is_whole = weights() == Holds::kAll || sharing.of(is_expert).count == 1;
      if (is_whole) bind_data(*unit, is_expert, held_data(*unit, is_expert));
      if (sharing.is_shared())
        owned_.push_back({.range = share_of(*unit, is_expert),
                          .is_expert = is_expert,
                          .data = share_of_data(*unit, is_expert),
                          .grad = {}});
    }
  }
}

void ParameterStore::initialize(Exec& exec) {
  const RngKey key = exec.rng().fold("init");
  visit_held([&](Parameter& parameter, int64_t held_begin, const Tensor& held) {
    const Init& init = parameter.spec.init;
    if (init.kind != Init::Kind::kNormal) return fill(held, init.kind == Init::Kind::kOnes ? 1 : 0, exec);
    const int64_t held_end = held_begin + held.numel();
    parameter.spec.visit_runs([&](int64_t first, int64_t begin, int64_t length) {
      const int64_t from = std::max(begin, held_begin), to = std::min(begin + length, held_end);
      if (from >= to) return;
      fill_normal({.x = held.slice(0, from - held_begin, to - held_begin),
                   .std = init.std,
                   .rng = key.fold(parameter.name()),
                   .first_element = first + from - begin},
                  exec);
    });
  });
}

void ParameterStore::allocate_gradients(Exec& exec) {
  allocate_gradients(exec, sum_dtype());
}

void ParameterStore::allocate_gradients(Exec& exec, DType dtype) {
  MG_CHECK(dtype == sum_dtype() || (dtype_ == DType::kBF16 && dtype == DType::kBF16),
           "gradients in {} of parameters in {}; allowed: f32 (f64 for f64), or bf16 for bf16",
           name_of(dtype), name_of(dtype_));
  gradient_dtype_ = dtype;
  const OwnerScope scope(exec.ledger(), "gradients");
  flat_grad_ = exec.zeros({num_held(gradients())}, gradient_dtype());
  for (const bool is_expert : {false, true}) {
    for (const auto& unit : units_) {
      if (range_of(*unit, is_expert).size() == 0) continue;
      const bool is_whole = gradients() == Holds::kAll || sharing_.of(is_expert).count == 1;
      if (is_whole) bind_grad(*unit, is_expert, held_grad(*unit, is_expert));
    }
  }
  if (!sharing_.is_shared()) {
    owned_.front().grad = flat_grad_;
  } else {
    size_t next = 0;
    for (const bool is_expert : {false, true})
      for (const auto& unit : units_)
        if (range_of(*unit, is_expert).size() > 0) owned_[next++].grad = share_of_grad(*unit, is_expert);
  }
  mark_gradients_fresh();
}

void ParameterStore::mark_gradients_fresh() {
  for (const auto& parameter : parameters_) parameter->grad_is_fresh = true;
}

void ParameterStore::finish_gradients(const ParameterUnit& unit, Exec& exec) {
  for (Parameter* parameter : unit.parameters) {
    if (parameter->grad_is_fresh && parameter->main_grad.defined()) fill(parameter->main_grad, 0, exec);
    parameter->grad_is_fresh = false;
  }
}

void ParameterStore::finish_gradients(Exec& exec) {
  for (const auto& unit : units_) finish_gradients(*unit, exec);
}

Parameter& ParameterStore::find(const std::string& name) const {
  std::vector<std::string> names;
  for (const auto& parameter : parameters_) {
    if (parameter->name() == name) return *parameter;
    names.push_back(parameter->name());
  }
  fail("the model has no parameter '{}'; the nearest is '{}'", name, nearest(name, names));
}

int64_t ParameterStore::num_elements() const {
  int64_t count = 0;
  for (const auto& parameter : parameters_) count += parameter->numel();
  return count;
}

int64_t ParameterStore::num_held(Holds holds) const {
  if (holds == Holds::kAll) return num_flat_;
  return expert_begin_ / sharing_.dense.count + (num_flat_ - expert_begin_) / sharing_.expert.count;
}

Tensor ParameterStore::stretch(const Tensor& flat, Holds holds, const ParameterUnit& unit,
                               bool is_expert) const {
  const FlatRange range = range_of(unit, is_expert);
  if (holds == Holds::kAll) return flat.slice(0, range.begin, range.end);
  const int64_t kind_begin = is_expert ? expert_begin_ : 0, count = sharing_.of(is_expert).count;
  const int64_t begin = kind_begin / sharing_.dense.count + (range.begin - kind_begin) / count;
  return flat.slice(0, begin, begin + range.size() / count);
}

Tensor ParameterStore::share(const Tensor& flat, Holds holds, const ParameterUnit& unit,
                             bool is_expert) const {
  const Tensor held = stretch(flat, holds, unit, is_expert);
  if (holds == Holds::kShares) return held;
  const FlatRange own = share_of(unit, is_expert);
  const int64_t begin = own.begin - range_of(unit, is_expert).begin;
  return held.slice(0, begin, begin + own.size());
}

Tensor ParameterStore::held_data(const ParameterUnit& unit, bool is_expert) const {
  return stretch(flat_data_, weights(), unit, is_expert);
}

Tensor ParameterStore::share_of_data(const ParameterUnit& unit, bool is_expert) const {
  return share(flat_data_, weights(), unit, is_expert);
}

Tensor ParameterStore::held_grad(const ParameterUnit& unit, bool is_expert) const {
  return stretch(flat_grad_, gradients(), unit, is_expert);
}

Tensor ParameterStore::share_of_grad(const ParameterUnit& unit, bool is_expert) const {
  return share(flat_grad_, gradients(), unit, is_expert);
}

FlatRange ParameterStore::share_of(const ParameterUnit& unit, bool is_expert) const {
  const FlatRange whole = range_of(unit, is_expert);
  const FlatSharing::Cut& cut = sharing_.of(is_expert);
  const int64_t size = whole.size() / cut.count, begin = whole.begin + cut.index * size;
  return {begin, begin + size};
}

void ParameterStore::visit_pieces(Tensor Owned::*tensor, const VisitPiece& visit) const {
  for (const Owned& part : owned_) {
    for (const auto& parameter : parameters_) {
      const FlatRange whole = parameter->flat_range();
      const int64_t begin = std::max(part.range.begin, whole.begin);
      const int64_t end = std::min(part.range.end, whole.end);
      if (begin >= end) continue;
      visit(*parameter, begin - whole.begin,
            (part.*tensor).slice(0, begin - part.range.begin, end - part.range.begin));
    }
  }
}

void ParameterStore::visit_held(const VisitPiece& visit) const {
  if (sharing_.shards_weights) return visit_owned(visit);
  for (const auto& parameter : parameters_) visit(*parameter, 0, parameter->data.view({-1}));
}

void ParameterStore::visit_owned(const VisitPiece& visit) const {
  visit_pieces(&Owned::data, visit);
}

void ParameterStore::visit_owned_gradients(const VisitPiece& visit) const {
  visit_pieces(&Owned::grad, visit);
}

namespace {

void bind(const ParameterUnit& unit, bool is_expert, const Tensor& flat, Tensor Parameter::*window) {
  const int64_t base = range_of(unit, is_expert).begin;
  for (Parameter* parameter : unit.parameters) {
    if (parameter->spec.is_expert != is_expert) continue;
    const int64_t begin = parameter->flat_begin - base;
    parameter->*window =
        flat.defined() ? flat.slice(0, begin, begin + parameter->numel()).view(parameter->spec.local_shape())
                       : Tensor();
  }
}

}  // namespace

void ParameterStore::bind_data(const ParameterUnit& unit, bool is_expert, const Tensor& flat) {
  bind(unit, is_expert, flat, &Parameter::data);
}

void ParameterStore::bind_grad(const ParameterUnit& unit, bool is_expert, const Tensor& flat) {
  bind(unit, is_expert, flat, &Parameter::main_grad);
}

}  // namespace megalith
