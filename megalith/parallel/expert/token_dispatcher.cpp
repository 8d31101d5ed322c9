#include "megalith/parallel/expert/token_dispatcher.h"

#include <algorithm>
#include <cmath>

#include "megalith/autograd/functions/collectives.h"
#include "megalith/autograd/functions/row_map.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/peer_maps.h"

namespace megalith {
namespace {

// Every choice as a row of its own.
Var as_column(const Var& probs) {
  return {probs.data.view({probs.data.numel(), 1}), probs.id};
}

// What all ranks hold, in rank order along the first dimension.
Tensor gathered(const Tensor& x, Communicator& group, Exec& exec, const char* label) {
  if (group.size() == 1) return x;
  const Tensor all = exec.empty({x.dim(0) * group.size(), x.dim(1)}, x.dtype());
  group.all_gather(x, all, label);
  return all;
}

}  // namespace

DispatchedTokens TokenDispatcher::begin_dispatch(Tape& tape, const Var& x, const Choice& choice) const {
  return kind_ == DispatcherKind::kAllToAll ? all_to_all(tape, x, choice) : all_gather(tape, x, choice);
}

ExpertOrder TokenDispatcher::sorted(const Choice& choice, int64_t max_rows, Exec& exec) const {
  const bool is_known = !choice.has_dropped || choice.rows_per_expert > 0;
  return sort_by_expert({.experts = choice.experts,
                         .first_expert = 0,
                         .num_experts = num_experts_,
                         .rows_per_expert = choice.rows_per_expert,
                         .is_complete = !choice.has_dropped,
                         .max_rows = is_known ? 0 : max_rows},
                        exec);
}

TokenDispatcher::Room TokenDispatcher::room_for(const Choice& choice) const {
  if (choice.rank_capacity_factor == 0) return {};
  MG_CHECK(
      choice.rank_capacity_factor >= 1 && choice.rows_per_expert == 0,
      "a rank's experts take {} times the rows of an even load, and {} of each rank; choose one, the first "
      "at least 1",
      choice.rank_capacity_factor, choice.rows_per_expert);
  const int64_t tokens = choice.experts.dim(0), topk = choice.experts.dim(1);
  const auto even = static_cast<double>(tokens * topk * etp().size());
  const int64_t all = tokens * ep().size() * etp().size() * std::min(topk, shard_.count);
  const int64_t rows = std::min(static_cast<int64_t>(std::ceil(even * choice.rank_capacity_factor)), all);
  // What ranks of etp send each other is not bounded.
  return {.rows = rows, .copies = etp().size() > 1 ? 0 : std::min(tokens * ep().size(), rows)};
}

Tensor TokenDispatcher::counter(const Choice& choice, const Tape& tape) {
  return tape.is_recording() ? choice.dropped : Tensor();
}

DispatchedTokens TokenDispatcher::all_to_all(Tape& tape, const Var& x, const Choice& choice) const {
  DispatchedTokens result;
  result.plan.is_exchanged = ep().size() > 1 || etp().size() > 1;
  if (peers_ != nullptr) {
    pull(tape, x, choice, result);
  } else if (result.plan.is_exchanged) {
    exchange(tape, x, choice, result);
  } else {
    const ExpertOrder& order = result.plan.order = sorted(choice, room_for(choice).rows, tape.exec());
    result.x = permute_rows(tape, x, order.tokens);
    result.probs = permute_rows(tape, as_column(choice.probs), order.choices);
    result.offsets = order.offsets;
  }
  return result;
}

void TokenDispatcher::exchange(Tape& tape, const Var& x, const Choice& choice,
                               DispatchedTokens& result) const {
  Exec& exec = tape.exec();
  DispatchPlan& plan = result.plan;
  const int64_t num_ranks = ep().size(), num_blocks = etp().size(), topk = choice.experts.dim(1);
  const RankCopies copies = copies_for_ranks(
      {.experts = choice.experts, .experts_of_rank = shard_.count, .num_ranks = num_ranks}, exec);
  // [etp rank, sender, receiver]: how many copies travel is all that the host has to know.
  const Tensor ep_counts = gathered(copies.counts.view({1, num_ranks}), ep(), exec, "copies of tokens");
  const std::vector<int64_t> counts =
      numbers_on_host(gathered(ep_counts, etp(), exec, "copies of tokens"), exec);
  const auto count_of = [&](int64_t block, int64_t sender, int64_t receiver) {
    return counts[static_cast<size_t>((block * num_ranks + sender) * num_ranks + receiver)];
  };
  RowExchange& way = plan.exchange;
  way.group = &mesh_->expert_exchange();
  way.backward_group = &mesh_->expert_gradient_exchange();
  for (int64_t rank = 0; rank < num_ranks; ++rank) {
    way.send_rows.push_back(count_of(etp().rank(), ep().rank(), rank));
    way.recv_rows.push_back(count_of(etp().rank(), rank, ep().rank()));
    way.send_length += way.send_rows.back();
  }
  int64_t received = 0;
  for (int64_t block = 0; block < num_blocks; ++block) {
    int64_t length = 0;
    for (int64_t sender = 0; sender < num_ranks; ++sender) length += count_of(block, sender, ep().rank());
    way.recv_length = std::max(way.recv_length, length);
    if (block == etp().rank()) received = length;
  }
  const SentCopies sent = sent_copies(copies, choice.experts, way.send_length, exec);
  plan.copies = sent.tokens;
  const Tensor experts = exec.empty({way.recv_length, topk}, DType::kI32);
  fill(experts, -1, exec);  // behind the copies
  if (num_ranks == 1) {
    copy(sent.experts, experts.slice(0, 0, received), exec);
  } else {
    ep().all_to_all_v(sent.experts, way.send_rows, experts.slice(0, 0, received), way.recv_rows,
                      "experts of tokens");
  }
  result.x = begin_exchange_rows(tape, permute_rows(tape, x, plan.copies), way);
  result.probs = begin_exchange_rows(tape, permute_rows(tape, choice.probs, plan.copies), way);
  const Room room = room_for(choice);
  plan.order = sort_by_expert({.experts = gathered(experts, etp(), exec, "experts of tokens"),
                               .first_expert = shard_.first,
                               .num_experts = shard_.count,
                               .rows_per_expert = choice.rows_per_expert * num_ranks * num_blocks,
                               .max_rows = room.rows,
                               .max_tokens = room.copies,
                               .dropped = counter(choice, tape)},
                              exec);
  result.offsets = plan.order.offsets;
}

void TokenDispatcher::pull(Tape& tape, const Var& x, const Choice& choice, DispatchedTokens& result) const {
  Exec& exec = tape.exec();
  const ExpertOrder order = sorted(choice, choice.experts.numel(), exec);
  const RankCopies copies = copies_for_ranks(
      {.experts = choice.experts, .experts_of_rank = shard_.count, .num_ranks = ep().size()}, exec);
  Room room = room_for(choice);
  if (choice.rows_per_expert > 0) {  // so many come, whatever was chosen
    const int64_t rows = choice.rows_per_expert * shard_.count * ep().size();
    room = {.rows = rows, .copies = std::min(choice.experts.dim(0) * ep().size(), rows)};
  }
  const auto find = [&](PullArgs::Lists lists) {
    PeerMaps maps = maps_from_peers({.offsets = lists[0],
                                     .choices = lists[1],
                                     .tokens = lists[2],
                                     .places = lists[3],
                                     .counts = lists[4],
                                     .experts = choice.experts,
                                     .rows = order.tokens.to,
                                     .own_rank = ep().rank(),
                                     .num_experts = num_experts_,
                                     .max_rows = room.rows,
                                     .max_copies = room.copies,
                                     .dropped = counter(choice, tape)},
                                    exec);
    result.offsets = maps.offsets;
    return PeerRoutes{.access = peers_,
                      .copies = std::move(maps.copies),
                      .places = std::move(maps.places),
                      .choices = std::move(maps.choices),
                      .rows_of_choices = std::move(maps.rows_of_choices),
                      .own_rank = ep().rank()};
  };
  PulledRows pulled =
      pull_rows(tape, x, choice.probs,
                {.access = peers_,
                 .lists = {order.offsets, order.choices.from, copies.tokens, copies.places, copies.counts},
                 .find = find});
  result.x = pulled.x;
  result.probs = pulled.probs;
  result.plan.order = {.tokens = pulled.routes.copies.rows, .choices = {}, .offsets = result.offsets};
  result.plan.routes = std::move(pulled.routes);
}

DispatchedTokens TokenDispatcher::end_dispatch(Tape& tape, DispatchedTokens begun) const {
  const DispatchPlan& plan = begun.plan;
  if (plan.is_exchanged && !plan.routes) {
    const auto end = [&](const Var& rows) {
      return all_gather_rows(tape, end_exchange_rows(tape, rows, plan.exchange), etp());
    };
    begun.x = permute_rows(tape, end(begun.x), plan.order.tokens);
    begun.probs = permute_rows(tape, as_column(end(begun.probs)), plan.order.choices);
  }
  return begun;
}

DispatchedTokens TokenDispatcher::all_gather(Tape& tape, const Var& x, const Choice& choice) const {
  MG_CHECK(choice.rows_per_expert == 0 && choice.rank_capacity_factor == 0,
           "the allgather dispatcher does not bound the input of experts; choose alltoall");
  Exec& exec = tape.exec();
  const auto gather = [&](const Var& rows) {
    return all_gather_rows(tape, all_gather_rows(tape, rows, etp()), ep());
  };
  const Tensor experts =
      gathered(gathered(choice.experts, etp(), exec, "experts of tokens"), ep(), exec, "experts of tokens");
  DispatchedTokens result;
  result.plan.order = sort_by_expert({.experts = experts,
                                      .first_expert = shard_.first,
                                      .num_experts = shard_.count,
                                      .is_complete = shard_.count == num_experts_ && !choice.has_dropped},
                                     exec);
  result.x = permute_rows(tape, gather(x), result.plan.order.tokens);
  result.probs = permute_rows(tape, as_column(gather(choice.probs)), result.plan.order.choices);
  result.offsets = result.plan.order.offsets;
  return result;
}

Var TokenDispatcher::begin_combine(Tape& tape, const Var& y, const DispatchPlan& plan) const {
  if (plan.routes) return y;
  const Var sums = combine_rows(tape, y, plan.order.tokens);
  if (!plan.is_exchanged) return sums;
  return begin_exchange_rows(tape, reduce_scatter_rows(tape, sums, etp()), plan.exchange.reversed());
}

Var TokenDispatcher::end_combine(Tape& tape, const Var& begun, const DispatchPlan& plan) const {
  if (plan.routes) return combine_pulled_rows(tape, begun, *plan.routes);
  if (plan.is_exchanged)
    return combine_rows(tape, end_exchange_rows(tape, begun, plan.exchange.reversed()), plan.copies);
  if (kind_ == DispatcherKind::kAllToAll) return begun;
  return reduce_scatter_rows(tape, reduce_scatter_rows(tape, begun, ep()), etp());
}

}  // namespace megalith
