#include "megalith/parallel/context/context_attention.h"
#include "megalith/parallel/context/head_exchange.h"

namespace megalith {
namespace {

// Attention of all tokens of `group` to the heads that this rank gets there.
template <class Attend>
Var with_shared_heads(Tape& tape, const Var& qkv, const AttentionOptions& options, Communicator& group,
                      const PackedContext* packed, int first_rank, const Attend& attend) {
  const int n = group.size();
  check_shared_heads(options.num_heads, options.num_query_groups, n);
  const SequenceOrder order = packed != nullptr
                                  ? packed->order(first_rank, n, tape.exec())
                                  : SequenceOrder{.zigzag = {n, qkv.data.dim(0) / options.batch * n},
                                                  .to_sequence_rows = {},
                                                  .to_rank_rows = {}};
  const auto exchange = [&](std::vector<int64_t> blocks) {
    return HeadExchange{&group, order, options.batch, options.head_dim, std::move(blocks)};
  };
  AttentionOptions own = options;
  own.num_heads /= n;
  own.num_query_groups /= n;
  own.rng = options.rng.fold("context").fold(static_cast<uint64_t>(group.rank()));
  own.sink.first_head += group.rank() * own.num_heads;
  const Var rows = heads_to_sequence(
      tape, qkv, exchange({options.num_heads, options.num_query_groups, options.num_query_groups}));
  return sequence_to_heads(tape, attend(rows, own), exchange({options.num_heads}));
}

}  // namespace

Var all_to_all_attention(Tape& tape, const Var& qkv, const AttentionOptions& options,
                         const ContextPeers& peers) {
  return with_shared_heads(tape, qkv, options, *peers.group, peers.packed.get(), 0,
                           [&](const Var& rows, AttentionOptions& own) {
                             if (peers.packed != nullptr)
                               own.first_key = peers.packed->first_key(tape.exec());
                             return attention(tape, rows, own);
                           });
}

// The ranks of an inner group have neighbouring chunks of either half of the sequence: together they are one
// rank of a zigzag over the outer group.
Var hierarchical_attention(Tape& tape, const Var& qkv, const AttentionOptions& options,
                           const ContextPeers& peers) {
  const int inner = peers.inner->size();
  const int first_rank = peers.group->rank() - peers.inner->rank();
  return with_shared_heads(tape, qkv, options, *peers.inner, peers.packed.get(), first_rank,
                           [&](const Var& rows, const AttentionOptions& own) {
                             return ring_attention(
                                 tape, rows, own, *peers.ring,
                                 peers.packed != nullptr ? peers.packed->merged(inner) : nullptr);
                           });
}

}  // namespace megalith
