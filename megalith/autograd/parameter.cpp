#include "megalith/autograd/parameter.h"

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

Tensor window(const Tensor& flat, const Parameter& parameter) {
  const Shape shape = parameter.spec.local_shape();
  return flat.slice(0, parameter.flat_begin, parameter.flat_begin + shape.numel()).view(shape);
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

Parameter& ParameterStore::add(ParameterSpec spec) {
  MG_ASSERT(!flat_data_.defined());
  for (const auto& other : parameters_)
    MG_CHECK(other->name() != spec.name, "parameter '{}' is added twice", spec.name);
  parameters_.push_back(std::make_unique<Parameter>(Parameter{.spec = std::move(spec)}));
  return *parameters_.back();
}

void ParameterStore::materialize(Exec& exec, DType dtype, const Divisors& divisors) {
  const OwnerScope scope(exec.ledger(), "parameters");
  dtype_ = dtype;
  num_flat_ = 0;
  const auto place = [&](bool experts) {
    for (const auto& parameter : parameters_) {
      if (parameter->spec.is_expert != experts) continue;
      parameter->flat_begin = num_flat_;
      num_flat_ += round_up(parameter->spec.local_shape().numel(), kStartPadding);
    }
  };
  place(false);
  expert_begin_ = num_flat_ = round_up(num_flat_, kStartPadding * divisors.dense);
  place(true);
  num_flat_ = expert_begin_ + round_up(num_flat_ - expert_begin_, kStartPadding * divisors.expert);
  flat_data_ = exec.zeros({num_flat_}, dtype);
  for (const auto& parameter : parameters_) parameter->data = window(flat_data_, *parameter);
}

void ParameterStore::initialize(Exec& exec) {
  const RngKey key = exec.rng().fold("init");
  for (const auto& parameter : parameters_) {
    const Init& init = parameter->spec.init;
    switch (init.kind) {
      case Init::Kind::kNormal:
        parameter->spec.visit_runs([&](int64_t first, int64_t begin, int64_t length) {
          fill_normal({.x = parameter->data.view({-1}).slice(0, begin, begin + length),
                       .std = init.std,
                       .rng = key.fold(parameter->name()),
                       .first_element = first},
                      exec);
        });
        break;
      case Init::Kind::kOnes:
        fill(parameter->data, 1, exec);
        break;
      case Init::Kind::kZeros:
        fill(parameter->data, 0, exec);
        break;
    }
  }
}

void ParameterStore::allocate_gradients(Exec& exec) {
  const OwnerScope scope(exec.ledger(), "gradients");
  flat_grad_ = exec.zeros({num_flat_}, dtype_ == DType::kF64 ? DType::kF64 : DType::kF32);
  for (const auto& parameter : parameters_) {
    parameter->main_grad = window(flat_grad_, *parameter);
    parameter->grad_is_fresh = true;
  }
}

void ParameterStore::mark_gradients_fresh() {
  for (const auto& parameter : parameters_) parameter->grad_is_fresh = true;
}

void ParameterStore::finish_gradients(Exec& exec) {
  for (const auto& parameter : parameters_) {
    if (parameter->grad_is_fresh) fill(parameter->main_grad, 0, exec);
    parameter->grad_is_fresh = false;
  }
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

}  // namespace megalith
