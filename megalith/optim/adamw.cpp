#include "megalith/optim/adamw.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "megalith/base/math.h"
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

Tensor zeros_on_host(const Shape& shape, Device device, Pool& pool) {
  const Tensor tensor(std::make_shared<Storage>(pool, device, shape.numel() * 4), DType::kF32, shape);
  std::memset(tensor.raw(), 0, static_cast<size_t>(tensor.nbytes()));
  return tensor;
}

}  // namespace

AdamW::AdamW(ParameterStore& store, const OptimConfig& config, Exec& exec)
    : host_pool_(exec.device(), host_ledger_, Pool::Memory::kPinnedHost),
      store_(&store),
      config_(config),
      has_own_master_(store.dtype() != DType::kF32) {
  const OwnerScope scope(exec.ledger(), "optimizer");
  int64_t num_owned = 0;
  for (const ParameterStore::Owned& owned : store.owned()) num_owned += owned.range.size();
  const double share = config.optimizer_cpu_offload ? config.optimizer_offload_fraction : 0;
  // Whole vectors on both sides of the cut.
  const int64_t num_on_host =
      std::min(round_up<int64_t>(std::llround(share * static_cast<double>(num_owned)), 64), num_owned);
  // One buffer for all parts: a block of its own for every small one would waste memory.
  const int64_t kinds = has_own_master_ ? 3 : 2;
  const Tensor on_device = exec.zeros({kinds, num_owned - num_on_host}, DType::kF32);
  const Tensor on_host =
      num_on_host > 0 ? zeros_on_host({kinds, num_on_host}, exec.device(), host_pool_) : Tensor();
  int64_t begin = 0;
  for (const ParameterStore::Owned& owned : store.owned()) {
    const int64_t end = begin + owned.range.size();
    const int64_t cut = std::clamp(num_on_host, begin, end);
    const auto part = [&](int64_t from, int64_t to) {
      ParameterStore::Owned piece = owned;
      piece.range = {owned.range.begin + from - begin, owned.range.begin + to - begin};
      piece.data = owned.data.slice(0, from - begin, to - begin);
      piece.grad = owned.grad.slice(0, from - begin, to - begin);
      return piece;
    };
    if (begin < cut) add_part(part(begin, cut), on_host.slice(1, begin, cut));
    if (cut < end) add_part(part(cut, end), on_device.slice(1, cut - num_on_host, end - num_on_host));
    begin = end;
  }
  copy_master_from_model(exec);
}

void AdamW::add_part(const ParameterStore::Owned& owned, const Tensor& state) {
  const auto kind = [&](int64_t index) { return state.slice(0, index, index + 1).view({-1}); };
  parts_.push_back({.owned = owned,
                    .master = has_own_master_ ? kind(2) : owned.data,
                    .exp_avg = kind(0),
                    .exp_avg_sq = kind(1)});
}

void AdamW::copy_master_from_model(Exec& exec) {
  if (!has_own_master_) return;
  for (const Part& part : parts_) copy(part.owned.data, part.master, exec);
}

void AdamW::for_each_stretch(const std::function<void(AdamwArgs args, bool decays)>& update) const {
  const std::vector<DecayRange> groups = decay_ranges(*store_);
  for (const Part& part : parts_) {
    for (const DecayRange& group : groups) {
      const FlatRange range = intersection(part.owned.range, group.range);
      if (range.begin >= range.end) continue;
      const auto own = [&](const Tensor& tensor) {
        return tensor.slice(0, range.begin - part.owned.range.begin, range.end - part.owned.range.begin);
      };
      update({.param = own(part.owned.data),
              .master = own(part.master),
              .grad = own(part.owned.grad),
              .exp_avg = own(part.exp_avg),
              .exp_avg_sq = own(part.exp_avg_sq),
              .beta1 = config_.adam_beta1,
              .beta2 = config_.adam_beta2,
              .eps = config_.adam_eps},
             group.decays);
    }
  }
}

void AdamW::step(const Step& step, Exec& exec) {
  ++num_steps_;
  for_each_stretch([&](AdamwArgs args, bool decays) {
    args.lr = step.lr;
    args.weight_decay = decays ? step.weight_decay : 0;
    args.grad_scale = step.grad_scale;
    args.step = num_steps_;
    adamw(args, exec);
  });
}

void AdamW::step_with(const Tensor& numbers, Exec& exec) {
  for_each_stretch([&](AdamwArgs args, bool decays) {
    args.numbers = numbers;
    args.weight_decay = decays ? 1 : 0;
    adamw(args, exec);
  });
}

AdamwFactors AdamW::next_factors(double lr, double weight_decay) const {
  return adamw_factors({.lr = lr,
                        .weight_decay = weight_decay,
                        .beta1 = config_.adam_beta1,
                        .beta2 = config_.adam_beta2,
                        .step = num_steps_ + 1});
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
