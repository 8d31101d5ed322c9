#include "megalith/parallel/expert/token_dispatcher.h"

#include <algorithm>
#include <bit>

#include "megalith/autograd/functions/collectives.h"
#include "megalith/autograd/functions/row_map.h"
#include "megalith/base/math.h"
#include "megalith/parallel/expert/arrival_order.h"

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

DispatchedTokens TokenDispatcher::dispatch(Tape& tape, const Var& x, const Choice& choice) const {
  return kind_ == DispatcherKind::kAllToAll ? all_to_all(tape, x, choice) : all_gather(tape, x, choice);
}

DispatchedTokens TokenDispatcher::all_to_all(Tape& tape, const Var& x, const Choice& choice) const {
  Exec& exec = tape.exec();
  DispatchedTokens result;
  DispatchPlan& plan = result.plan;
  plan.order = sort_by_expert({.experts = choice.experts,
                               .first_expert = 0,
                               .num_experts = num_experts_,
                               .rows_per_expert = choice.rows_per_expert,
                               .is_complete = !choice.has_dropped},
                              exec);
  plan.is_exchanged = ep().size() > 1 || etp().size() > 1;
  if (peers_ == nullptr) {
    result.x = permute_rows(tape, x, plan.order.tokens);
    result.probs = permute_rows(tape, as_column(choice.probs), plan.order.choices);
    result.offsets = plan.order.offsets;
  }
  if (!plan.is_exchanged) return result;

  if (peers_ != nullptr) {
    pull(tape, x, choice, result);
    return result;
  }

  // Where the rows for every expert begin, [etp rank, ep rank, E + 1]: all that the host has to know.
  const Tensor own_offsets = plan.order.offsets.view({1, num_experts_ + 1});
  const Tensor ep_offsets = gathered(own_offsets, ep(), exec, "rows of experts");
  const std::vector<int64_t> all =
      numbers_on_host(gathered(ep_offsets, etp(), exec, "rows of experts"), exec);
  const auto offsets_of = [&](int64_t block, int64_t sender) {
    return all.data() + (block * ep().size() + sender) * (num_experts_ + 1);
  };
  const int64_t* own = offsets_of(etp().rank(), ep().rank());

  ArrivalArgs arrival{
      .counts = {}, .num_blocks = etp().size(), .num_senders = ep().size(), .num_experts = shard_.count};
  for (int64_t block = 0; block < arrival.num_blocks; ++block) {
    int64_t length = 0;
    for (int64_t sender = 0; sender < arrival.num_senders; ++sender) {
      const int64_t* held = offsets_of(block, sender) + shard_.first;
      for (int64_t e = 0; e < shard_.count; ++e) arrival.counts.push_back(held[e + 1] - held[e]);
      const int64_t rows = held[shard_.count] - held[0];
      length += rows;
      if (block == etp().rank()) plan.exchange.recv_rows.push_back(rows);
    }
    arrival.block_length = std::max(arrival.block_length, length);
  }
  plan.exchange.group = &ep();
  for (int64_t rank = 0; rank < ep().size(); ++rank)
    plan.exchange.send_rows.push_back(own[(rank + 1) * shard_.count] - own[rank * shard_.count]);
  plan.exchange.send_length = own[num_experts_];
  plan.exchange.recv_length = arrival.block_length;
  const Arrival order = arrival_order(arrival, exec);
  plan.arrival = order.map;
  result.offsets = order.offsets;
  const auto bring = [&](const Var& rows) {
    return permute_rows(tape, all_gather_rows(tape, exchange_rows(tape, rows, plan.exchange), etp()),
                        plan.arrival);
  };
  result.x = bring(result.x);
  result.probs = bring(result.probs);
  return result;
}

void TokenDispatcher::pull(Tape& tape, const Var& x, const Choice& choice, DispatchedTokens& result) const {
  Exec& exec = tape.exec();
  const int64_t num_ranks = ep().size(), own = ep().rank();
  const ExpertOrder& order = result.plan.order;
  // Where the ranks' rows for each expert begin is all that their hosts have to know: `begins` [rank, E + 1].
  const auto find = [&](std::span<const std::byte* const> lists, const std::vector<int64_t>& begins) {
    std::vector<PeerSegment> segments;  // this rank's rows: by expert, then by sender
    std::vector<int32_t> offsets = {0};
    std::vector<int64_t> shifts;  // from this rank's rows to those of their owner
    for (int64_t owner = 0; owner < num_ranks; ++owner) {
      int64_t rows = 0;
      for (int64_t expert = owner * shard_.count; expert < (owner + 1) * shard_.count; ++expert) {
        for (int64_t sender = 0; sender < num_ranks; ++sender) {
          const int64_t* begin = begins.data() + sender * (num_experts_ + 1) + expert;
          const int64_t length = begin[1] - begin[0];
          if (sender == own) shifts.push_back(rows - *begin);
          if (owner == own) segments.push_back({.sender = sender, .first_row = *begin, .length = length});
          rows += length;
        }
        if (owner == own) offsets.push_back(narrow<int32_t>(rows));
      }
    }
    result.offsets = exec.from_host(std::span<const int32_t>(offsets), {shard_.count + 1});
    return PeerRoutes{.access = peers_,
                      .arrival = arrival_from_peers(segments, with_room(offsets.back()), lists, exec),
                      .way_back = way_back_from_peers({.experts = choice.experts,
                                                       .rows = order.tokens.to,
                                                       .shifts = std::move(shifts),
                                                       .experts_of_rank = shard_.count},
                                                      exec),
                      .topk = choice.experts.dim(1)};
  };
  PulledRows pulled = pull_rows(tape, x, choice.probs,
                                {.access = peers_,
                                 .list = order.choices.from,
                                 .numbers = numbers_on_host(order.offsets, exec),
                                 .find = find});
  result.x = pulled.x;
  result.probs = pulled.probs;
  result.plan.routes = std::move(pulled.routes);
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

Var TokenDispatcher::combine(Tape& tape, const Var& y, const DispatchPlan& plan) const {
  if (kind_ == DispatcherKind::kAllGather)
    return reduce_scatter_rows(
        tape, reduce_scatter_rows(tape, combine_rows(tape, y, plan.order.tokens), ep()), etp());
  if (plan.routes) return combine_pulled_rows(tape, y, *plan.routes);
  Var rows = y;
  if (plan.is_exchanged)
    rows = exchange_rows(tape, reduce_scatter_rows(tape, combine_rows(tape, y, plan.arrival), etp()),
                         plan.exchange.reversed());
  return combine_rows(tape, rows, plan.order.tokens);
}

}  // namespace megalith
