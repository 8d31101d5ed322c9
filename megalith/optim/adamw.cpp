#include "megalith/optim/adamw.h"

#include <vector>

#include "megalith/ops/adamw.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

struct FlatRange {
  int64_t begin = 0, end = 0;
  bool decays = false;
};

// Neighbours that decay alike are one range; the padding between them is zero and stays zero.
std::vector<FlatRange> ranges_of(const ParameterStore& store) {
  std::vector<FlatRange> ranges;
  for (const auto& parameter : store.parameters()) {
    const int64_t end = parameter->flat_begin + parameter->numel();
    if (!ranges.empty() && ranges.back().decays == parameter->decays()) {
      ranges.back().end = end;
    } else {
      ranges.push_back({parameter->flat_begin, end, parameter->decays()});
    }
  }
  return ranges;
}

}  // namespace

AdamW::AdamW(ParameterStore& store, const OptimConfig& config, Exec& exec)
    : store_(&store), config_(config), has_own_master_(store.dtype() != DType::kF32) {
  const OwnerScope scope(exec.ledger(), "optimizer");
  const Shape shape{store.num_flat_elements()};
  master_ = has_own_master_ ? exec.zeros(shape, DType::kF32) : store.flat_data();
  exp_avg_ = exec.zeros(shape, DType::kF32);
  exp_avg_sq_ = exec.zeros(shape, DType::kF32);
  copy_master_from_model(exec);
}

void AdamW::copy_master_from_model(Exec& exec) {
  if (has_own_master_) copy(store_->flat_data(), master_, exec);
}

void AdamW::step(const Step& step, Exec& exec) {
  ++num_steps_;
  for (const FlatRange& range : ranges_of(*store_)) {
    const auto part = [&](const Tensor& flat) { return flat.slice(0, range.begin, range.end); };
    adamw({.param = part(store_->flat_data()),
           .master = part(master_),
           .grad = part(store_->flat_grad()),
           .exp_avg = part(exp_avg_),
           .exp_avg_sq = part(exp_avg_sq_),
           .lr = step.lr,
           .beta1 = config_.adam_beta1,
           .beta2 = config_.adam_beta2,
           .eps = config_.adam_eps,
           .weight_decay = range.decays ? step.weight_decay : 0,
           .grad_scale = step.grad_scale,
           .step = num_steps_},
          exec);
  }
}

void AdamW::visit_state(const std::function<void(const std::string&, const Tensor&)>& visit) const {
  for (const auto& parameter : store_->parameters()) {
    const auto part = [&](const Tensor& flat) {
      const int64_t begin = parameter->flat_begin;
      return flat.slice(0, begin, begin + parameter->numel()).view(parameter->spec.shape);
    };
    if (has_own_master_) visit("master." + parameter->name(), part(master_));
    visit("exp_avg." + parameter->name(), part(exp_avg_));
    visit("exp_avg_sq." + parameter->name(), part(exp_avg_sq_));
  }
}

}  // namespace megalith
