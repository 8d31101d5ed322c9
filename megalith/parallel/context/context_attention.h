#pragma once
// defines: ContextKind, parse_context_kind, check_shared_heads, ContextPeers, context_attention

#include <memory>
#include <string_view>

#include "megalith/autograd/functions/attention.h"
#include "megalith/comm/communicator.h"
#include "megalith/parallel/context/packed_context.h"

namespace megalith {

/// How context-parallel ranks, each with its share of every sequence, meet in attention. Megatron's
/// cp_comm_type.
enum class ContextKind {
  kRing,       ///< p2p: keys and values go round (Liu et al. 2023); memory of one share, no limit on heads
  kAllToAll,   ///< a2a: each rank gets all tokens of some heads (Jacobs et al. 2023, Ulysses); heads divide
  kAllGather,  ///< every rank gets all keys and values (Dubey et al. 2024)
  kHierarchical,  ///< a2a+p2p: a2a inside groups of neighbours, p2p between the groups (Fang and Zhao 2024)
};
/// "p2p", "a2a", "all_gather", "a2a+p2p"
ContextKind parse_context_kind(std::string_view name);
/// Throws UsageError where the heads of a rank cannot be shared by the num_ranks ranks of an a2a.
void check_shared_heads(int64_t num_heads, int64_t num_query_groups, int num_ranks);

/// Who meets in attention.
struct ContextPeers {
  ContextKind kind = ContextKind::kRing;
  Communicator* group = nullptr;  ///< all ranks that share the sequences
  /// Of kHierarchical: ranks whose places in `group` are neighbours.
  Communicator* inner = nullptr;
  /// Of kRing the same ranks as `group`, of kHierarchical those of equal place among their neighbours. With
  /// CommOrder::kBeside keys, values and their gradients travel while others are attended to.
  Communicator* ring = nullptr;
  /// Whose the tokens are where rows hold several documents; null: each row is one, shared by Zigzag.
  std::shared_ptr<const PackedContext> packed;
};

/// Causal attention over sequences shared by the ranks of `peers.group`: qkv [T, (N + 2K) D] of this rank's
/// tokens -> [T, N D], the same as attention() of the whole, with options.batch sequences and options.window;
/// documents come with `peers`, not in options.first_key. The all-to-all form gives the bits of one rank.
/// Throws UsageError where heads do not fit the kind.
Var context_attention(Tape& tape, const Var& qkv, const AttentionOptions& options, const ContextPeers& peers);

// The kinds of it. Packed documents of ring_attention are among its `ring`.
Var ring_attention(Tape& tape, const Var& qkv, const AttentionOptions& options, Communicator& ring,
                   std::shared_ptr<const PackedContext> packed);
Var all_to_all_attention(Tape& tape, const Var& qkv, const AttentionOptions& options,
                         const ContextPeers& peers);
Var all_gather_attention(Tape& tape, const Var& qkv, const AttentionOptions& options,
                         const ContextPeers& peers);
Var hierarchical_attention(Tape& tape, const Var& qkv, const AttentionOptions& options,
                           const ContextPeers& peers);

}  // namespace megalith
