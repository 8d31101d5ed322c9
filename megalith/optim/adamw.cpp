#include "megalith/optim/adamw.h"

#include <algorithm>
#include <vector>

#include "megalith/ops/adamw.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

struct DecayRange {
  FlatRange range;
  bool decays = false;
};

FlatRange intersection(FlatRange a, FlatRange b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

// Neighbours that decay alike are one range; the padding between them is zero and stays zero.
std::vector<DecayRange> decay_ranges(const ParameterStore& store) {
  std::vector<DecayRange> all;
  for (const auto& parameter : store.parameters())
    all.push_back({parameter->flat_range(), parameter->decays()});
  std::sort(all.begin(), all.end(),
            [](const DecayRange& a, const DecayRange& b) { return a.range.begin < b.range.begin; });
  std::vector<DecayRange> merged;
  for (const DecayRange& next : all) {
    if (!merged.empty() && merged.back().decays == next.decays) {
      merged.back().range.end = next.range.end;
    } else {
      merged.push_back(next);
    }
  }
  return merged;
}

}  // namespace

AdamW::AdamW(ParameterStore& store, const OptimConfig& config, Exec& exec)
    : store_(&store), config_(config), has_own_master_(store.dtype() != DType::kF32) {
  const OwnerScope scope(exec.ledger(), "optimizer");
  Shape owned_shape{0};
  for (const ParameterStore::Owned& owned : store.owned())
    owned_shape.set(0, owned_shape[0] + owned.range.size());
  // One buffer of each kind for all parts: a block of its own for every small one would waste memory.
  const Tensor masters = has_own_master_ ? exec.zeros(owned_shape, DType::kF32) : Tensor();
  const Tensor moments = exec.zeros(owned_shape, DType::kF32);
  const Tensor square_moments = exec.zeros(owned_shape, DType::kF32);
  int64_t begin = 0;
  for (const ParameterStore::Owned& owned : store.owned()) {
    const int64_t end = begin + owned.range.size();
    parts_.push_back({.owned = owned,
                      .master = has_own_master_ ? masters.slice(0, begin, end) : owned.data,
                      .exp_avg = moments.slice(0, begin, end),
                      .exp_avg_sq = square_moments.slice(0, begin, end)});
    begin = end;
  }
  copy_master_from_model(exec);
}

void AdamW::copy_master_from_model(Exec& exec) {
  if (!has_own_master_) return;
  for (const Part& part : parts_) copy(part.owned.data, part.master, exec);
}

void AdamW::step(const Step& step, Exec& exec) {
  ++num_steps_;
  const std::vector<DecayRange> groups = decay_ranges(*store_);
  for (const Part& part : parts_) {
    for (const DecayRange& group : groups) {
      const FlatRange range = intersection(part.owned.range, group.range);
      if (range.begin >= range.end) continue;
      const auto own = [&](const Tensor& tensor) {
        return tensor.slice(0, range.begin - part.owned.range.begin, range.end - part.owned.range.begin);
      };
      adamw({.param = own(part.owned.data),
             .master = own(part.master),
             .grad = own(part.owned.grad),
             .exp_avg = own(part.exp_avg),
             .exp_avg_sq = own(part.exp_avg_sq),
             .lr = step.lr,
             .beta1 = config_.adam_beta1,
             .beta2 = config_.adam_beta2,
             .eps = config_.adam_eps,
             .weight_decay = group.decays ? step.weight_decay : 0,
             .grad_scale = step.grad_scale,
             .step = num_steps_},
            exec);
    }
  }
}

void AdamW::visit_state(const std::function<void(const StatePiece&)>& visit) const {
  for (const auto& parameter : store_->parameters()) {
    for (const Part& part : parts_) {
      const FlatRange range = intersection(part.owned.range, parameter->flat_range());
      if (range.begin >= range.end) continue;
      const auto give = [&](const char* kind, const Tensor& state) {
        visit({.kind = kind,
               .parameter = parameter.get(),
               .begin = range.begin - parameter->flat_begin,
               .tensor =
                   state.slice(0, range.begin - part.owned.range.begin, range.end - part.owned.range.begin)});
      };
      if (has_own_master_) give("master", part.master);
      give("exp_avg", part.exp_avg);
      give("exp_avg_sq", part.exp_avg_sq);
    }
  }
}

}  // namespace megalith
