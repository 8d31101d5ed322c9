#include "megalith/parallel/expert/token_dispatcher.h"

#include <algorithm>

#include "megalith/autograd/functions/collectives.h"
#include "megalith/autograd/functions/row_map.h"
#include "megalith/parallel/expert/arrival_order.h"

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
                               .rows_per_expert = choice.rows_per_expert},
                              exec);
  result.x = permute_rows(tape, x, plan.order.tokens);
  result.probs = permute_rows(tape, as_column(choice.probs), plan.order.choices);
  result.offsets = plan.order.offsets;
  plan.is_exchanged = ep().size() > 1 || etp().size() > 1;
  if (!plan.is_exchanged) return result;

  // Rows for every expert: [etp rank, ep rank, E].
  const std::vector<int64_t> ends = to_vector<int64_t>(plan.order.offsets);
  std::vector<int32_t> own;
  for (int64_t e = 0; e < num_experts_; ++e)
    own.push_back(static_cast<int32_t>(ends[static_cast<size_t>(e) + 1] - ends[static_cast<size_t>(e)]));
  const Tensor own_counts = exec.from_host(std::span<const int32_t>(own), {1, num_experts_});
  const Tensor ep_counts = gathered(own_counts, ep(), exec, "rows of experts");
  const std::vector<int64_t> all = to_vector<int64_t>(gathered(ep_counts, etp(), exec, "rows of experts"));

  ArrivalArgs arrival{
      .counts = {}, .num_blocks = etp().size(), .num_senders = ep().size(), .num_experts = shard_.count};
  for (int64_t block = 0; block < arrival.num_blocks; ++block) {
    int64_t length = 0;
    for (int64_t sender = 0; sender < arrival.num_senders; ++sender) {
      const auto row = all.begin() + (block * arrival.num_senders + sender) * num_experts_ + shard_.first;
      arrival.counts.insert(arrival.counts.end(), row, row + shard_.count);
      int64_t rows = 0;
      for (int64_t e = 0; e < shard_.count; ++e) rows += row[e];
      length += rows;
      if (block == etp().rank()) plan.exchange.recv_rows.push_back(rows);
    }
    arrival.block_length = std::max(arrival.block_length, length);
  }
  plan.exchange.group = &ep();
  for (int64_t rank = 0; rank < ep().size(); ++rank)
    plan.exchange.send_rows.push_back(ends[static_cast<size_t>((rank + 1) * shard_.count)] -
                                      ends[static_cast<size_t>(rank * shard_.count)]);
  plan.exchange.send_length = ends.back();
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
  result.plan.order =
      sort_by_expert({.experts = experts, .first_expert = shard_.first, .num_experts = shard_.count}, exec);
  result.x = permute_rows(tape, gather(x), result.plan.order.tokens);
  result.probs = permute_rows(tape, as_column(gather(choice.probs)), result.plan.order.choices);
  result.offsets = result.plan.order.offsets;
  return result;
}

Var TokenDispatcher::combine(Tape& tape, const Var& y, const DispatchPlan& plan) const {
  if (kind_ == DispatcherKind::kAllGather)
    return reduce_scatter_rows(
        tape, reduce_scatter_rows(tape, combine_rows(tape, y, plan.order.tokens), ep()), etp());
  Var rows = y;
  if (plan.is_exchanged)
    rows = exchange_rows(tape, reduce_scatter_rows(tape, combine_rows(tape, y, plan.arrival), etp()),
                         plan.exchange.reversed());
  return combine_rows(tape, rows, plan.order.tokens);
}

}  // namespace megalith
