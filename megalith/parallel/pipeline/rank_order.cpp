#include "megalith/parallel/pipeline/rank_order.h"

#include <algorithm>

#include "megalith/base/error.h"

namespace megalith {

void RankOrder::add(ActionKind kind, int chunk, int microbatch) {
  if (microbatch < num_microbatches_)
    actions_.push_back({.kind = kind, .microbatch = microbatch, .chunk = chunk});
}

void RankOrder::pair_up(size_t begin) {
  if (actions_.size() != begin + 2) return;
  Action& first = actions_[begin];
  const Action& second = actions_.back();
  first.is_paired = first.kind == ActionKind::kForward && second.kind == ActionKind::kBackward &&
                    first.microbatch != second.microbatch;
}

void RankOrder::backward_input(int chunk) {
  weights_left_.push_back({chunk, num_backward_[chunk]});
  add(ActionKind::kBackwardInput, chunk, num_backward_[chunk]++);
}

void RankOrder::backward_weight() {
  MG_ASSERT(!weights_left_.empty());
  const auto [chunk, microbatch] = weights_left_.front();
  weights_left_.pop_front();
  add(ActionKind::kBackwardWeight, chunk, microbatch);
}

void RankOrder::backward_weight(int chunk) {
  const auto oldest = std::find_if(weights_left_.begin(), weights_left_.end(),
                                   [&](const auto& left) { return left.first == chunk; });
  MG_ASSERT(oldest != weights_left_.end());
  add(ActionKind::kBackwardWeight, chunk, oldest->second);
  weights_left_.erase(oldest);
}

bool RankOrder::has_weights_left(int chunk) const {
  return std::any_of(weights_left_.begin(), weights_left_.end(),
                     [&](const auto& left) { return left.first == chunk; });
}

std::vector<Action> gpipe_order(const RankPlace& place) {
  RankOrder order(place.num_microbatches);
  for (int i = 0; i < place.num_microbatches; ++i) order.forward(0);
  for (int i = 0; i < place.num_microbatches; ++i) order.backward(0);
  return order.take();
}

std::vector<Action> one_f_one_b_order(const RankPlace& place) {
  if (place.makes_pairs) return interleaved_order(place);  // of one chunk
  RankOrder order(place.num_microbatches);
  const int warmup = std::min(place.num_ranks - place.rank - 1, place.num_microbatches);
  for (int i = 0; i < warmup; ++i) order.forward(0);
  for (int i = warmup; i < place.num_microbatches; ++i) {
    order.forward(0);
    order.backward(0);
  }
  for (int i = 0; i < warmup; ++i) order.backward(0);
  return order.take();
}

std::vector<Action> interleaved_order(const RankPlace& place) {
  struct Visit {
    int chunk;
    int microbatch;
  };
  // A group of microbatches goes through the first chunk, then the same group through the next.
  std::vector<Visit> visits;
  for (int begin = 0; begin < place.num_microbatches; begin += place.group_size) {
    const int end = std::min(begin + place.group_size, place.num_microbatches);
    for (int chunk = 0; chunk < place.num_chunks; ++chunk)
      for (int microbatch = begin; microbatch < end; ++microbatch) visits.push_back({chunk, microbatch});
  }
  RankOrder order(place.num_microbatches);
  const auto forward = [&](size_t i) {
    order.add(ActionKind::kForward, visits[i].chunk, visits[i].microbatch);
  };
  const auto backward = [&](size_t i) {
    order.add(ActionKind::kBackward, place.num_chunks - 1 - visits[i].chunk, visits[i].microbatch);
  };
  const int first_forwards = 2 * (place.num_ranks - place.rank - 1) +
                             (place.num_chunks - 1) * place.group_size + (place.makes_pairs ? 1 : 0);
  const size_t warmup = std::min(static_cast<size_t>(first_forwards), visits.size());
  for (size_t i = 0; i < warmup; ++i) forward(i);
  for (size_t i = warmup; i < visits.size(); ++i) {
    const size_t begin = order.size();
    forward(i);
    backward(i - warmup);
    if (place.makes_pairs) order.pair_up(begin);
  }
  for (size_t i = visits.size() - warmup; i < visits.size(); ++i) backward(i);
  return order.take();
}

// 1F1B in which rank r keeps the weight gradients of r microbatches back: so every rank holds the activations
// of up to p microbatches, and has work when the last gradients arrive one by one.
std::vector<Action> zb_h1_order(const RankPlace& place) {
  RankOrder order(place.num_microbatches);
  const int warmup = std::min(place.num_ranks - place.rank - 1, place.num_microbatches);
  for (int i = 0; i < warmup; ++i) order.forward(0);
  for (int i = 0; i < place.num_microbatches; ++i) {
    if (i + warmup < place.num_microbatches) order.forward(0);
    order.backward_input(0);
    if (i >= place.rank) order.backward_weight();
  }
  while (order.has_weights_left(0)) order.backward_weight();
  return order.take();
}

}  // namespace megalith
