#include "megalith/autograd/parameter.h"

#include "megalith/base/math.h"
#include "megalith/base/text.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/random_fill.h"

namespace megalith {
namespace {
constexpr int64_t kStartPadding = 64;
}  // namespace

Parameter& ParameterStore::add(ParameterSpec spec) {
  MG_ASSERT(!flat_data_.defined());
  for (const auto& other : parameters_)
    MG_CHECK(other->name() != spec.name, "parameter '{}' is added twice", spec.name);
  parameters_.push_back(std::make_unique<Parameter>(Parameter{.spec = std::move(spec)}));
  return *parameters_.back();
}

void ParameterStore::materialize(Exec& exec, DType dtype) {
  const OwnerScope scope(exec.ledger(), "parameters");
  dtype_ = dtype;
  num_flat_ = 0;
  for (const auto& parameter : parameters_) {
    parameter->flat_begin = num_flat_;
    num_flat_ += round_up(parameter->numel(), kStartPadding);
  }
  flat_data_ = exec.zeros({num_flat_}, dtype);
  for (const auto& parameter : parameters_) {
    const int64_t begin = parameter->flat_begin;
    parameter->data = flat_data_.slice(0, begin, begin + parameter->numel()).view(parameter->spec.shape);
  }
}

void ParameterStore::initialize(Exec& exec) {
  const RngKey key = exec.rng().fold("init");
  for (const auto& parameter : parameters_) {
    const Init& init = parameter->spec.init;
    switch (init.kind) {
      case Init::Kind::kNormal:
        fill_normal({.x = parameter->data, .std = init.std, .rng = key.fold(parameter->name())}, exec);
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
    const int64_t begin = parameter->flat_begin;
    parameter->main_grad = flat_grad_.slice(0, begin, begin + parameter->numel()).view(parameter->spec.shape);
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
