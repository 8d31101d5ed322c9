#include "megalith/parallel/expert/token_dispatcher.h"

#include <algorithm>
#include <bit>

#include "megalith/autograd/functions/collectives.h"
#include "megalith/autograd/functions/row_map.h"
#include "megalith/base/math.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

// Every choice as a row of its own.
Var as_column(const Var& probs) {
  return {probs.data.view({probs.data.numel(), 1}), probs.id};
}

// Rows of tensors whose number differs from step to step, rounded up by at most a sixteenth: few sizes come
// again and again, so that their memory can be used again.
int64_t with_room(int64_t rows) {
  const auto step = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(rows) / 16));
  return round_up(rows, std::max<int64_t>(step, 1));
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

ExpertOrder TokenDispatcher::sorted(const Choice& choice, Exec& exec) const {
  return sort_by_expert({.experts = choice.experts,
                         .first_expert = 0,
                         .num_experts = num_experts_,
                         .rows_per_expert = choice.rows_per_expert,
                         .is_complete = !choice.has_dropped},
                        exec);
}

DispatchedTokens TokenDispatcher::all_to_all(Tape& tape, const Var& x, const Choice& choice) const {
  DispatchedTokens result;
  result.plan.is_exchanged = ep().size() > 1 || etp().size() > 1;
  if (peers_ != nullptr) {
    pull(tape, x, choice, result);
  } else if (result.plan.is_exchanged) {
    exchange(tape, x, choice, result);
  } else {
    const ExpertOrder& order = result.plan.order = sorted(choice, tape.exec());
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
  plan.order = sort_by_expert({.experts = gathered(experts, etp(), exec, "experts of tokens"),
                               .first_expert = shard_.first,
                               .num_experts = shard_.count,
                               .rows_per_expert = choice.rows_per_expert * num_ranks * num_blocks},
                              exec);
  result.offsets = plan.order.offsets;
}

void TokenDispatcher::pull(Tape& tape, const Var& x, const Choice& choice, DispatchedTokens& result) const {
  Exec& exec = tape.exec();
  const int64_t num_ranks = ep().size(), own = ep().rank();
  const ExpertOrder order = sorted(choice, exec);
  const RankCopies copies = copies_for_ranks(
      {.experts = choice.experts, .experts_of_rank = shard_.count, .num_ranks = num_ranks}, exec);
  // Where a rank's rows for each expert begin, and its copies for each rank: all that the hosts have to know.
  const Tensor numbers = exec.empty({num_experts_ + 1 + num_ranks}, DType::kI32);
  copy(order.offsets, numbers.slice(0, 0, num_experts_ + 1), exec);
  copy(copies.counts, numbers.slice(0, num_experts_ + 1, numbers.numel()), exec);
  const auto find = [&](PullArgs::Lists lists, const std::vector<int64_t>& all) {
    const auto numbers_of = [&](int64_t rank) { return all.data() + rank * numbers.numel(); };
    std::vector<PeerSegment> segments;  // this rank's rows: by expert, then by sender
    std::vector<int32_t> offsets = {0};
    std::vector<int64_t> shifts;       // from this rank's rows to those of their owner
    std::vector<int64_t> copies_here;  // from each rank
    int64_t num_copies = 0;
    for (int64_t owner = 0; owner < num_ranks; ++owner) {
      int64_t rows = 0;
      for (int64_t expert = owner * shard_.count; expert < (owner + 1) * shard_.count; ++expert) {
        for (int64_t sender = 0; sender < num_ranks; ++sender) {
          const int64_t* begin = numbers_of(sender) + expert;
          const int64_t length = begin[1] - begin[0];
          if (sender == own) shifts.push_back(rows - *begin);
          if (owner == own) segments.push_back({.sender = sender, .first_row = *begin, .length = length});
          rows += length;
        }
        if (owner == own) offsets.push_back(narrow<int32_t>(rows));
      }
      copies_here.push_back(numbers_of(owner)[num_experts_ + 1 + own]);
      num_copies += copies_here.back();
    }
    result.offsets = exec.from_host(std::span<const int32_t>(offsets), {shard_.count + 1});
    const PeerRowMap choices = arrival_from_peers(segments, with_room(offsets.back()), lists[0], exec);
    return PeerRoutes{.access = peers_,
                      .copies = copies_from_peers({.tokens = lists[1],
                                                   .places = lists[2],
                                                   .arrival = choices,
                                                   .counts = std::move(copies_here),
                                                   .own_rank = own,
                                                   .num_tokens = choice.experts.dim(0),
                                                   .topk = choice.experts.dim(1),
                                                   .num_copies = with_room(num_copies)},
                                                  exec),
                      .places = copies.places,
                      .choices = choices,
                      .rows_of_choices = way_back_from_peers({.experts = choice.experts,
                                                              .rows = order.tokens.to,
                                                              .shifts = std::move(shifts),
                                                              .experts_of_rank = shard_.count},
                                                             exec),
                      .own_rank = own};
  };
  PulledRows pulled = pull_rows(tape, x, choice.probs,
                                {.access = peers_,
                                 .lists = {order.choices.from, copies.tokens, copies.places},
                                 .numbers = numbers_on_host(numbers, exec),
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
  MG_CHECK(choice.rows_per_expert == 0,
           "the allgather dispatcher does not pad the input of experts; choose alltoall");
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
