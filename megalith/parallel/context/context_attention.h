#pragma once
// defines: ContextKind, parse_context_kind, context_attention

#include <string_view>

#include "megalith/autograd/functions/attention.h"
#include "megalith/comm/communicator.h"

namespace megalith {

/// How context-parallel ranks, each with its zigzag share of every sequence, meet in attention. Megatron's
/// cp_comm_type.
enum class ContextKind {
  kRing,       ///< p2p: keys and values go round (Liu et al. 2023); memory of one share, no limit on heads
  kAllToAll,   ///< a2a: each rank gets all tokens of some heads (Jacobs et al. 2023, Ulysses); heads divide
  kAllGather,  ///< every rank gets all keys and values (Dubey et al. 2024); packed documents at no extra cost
};
/// "p2p", "a2a", "all_gather"
ContextKind parse_context_kind(std::string_view name);

/// Causal attention over sequences shared by the ranks of `group`: qkv [T, (N + 2K) D] of this rank's tokens
/// -> [T, N D], the same as attention() of the whole, with options.batch sequences and options.first_key of
/// this rank's queries (as places in the whole sequence). The all-to-all form gives the bits of one rank.
/// Throws UsageError where heads or documents do not fit the kind.
Var context_attention(Tape& tape, const Var& qkv, const AttentionOptions& options, ContextKind kind,
                      Communicator& group);

// The three of them.
Var ring_attention(Tape& tape, const Var& qkv, const AttentionOptions& options, Communicator& group);
Var all_to_all_attention(Tape& tape, const Var& qkv, const AttentionOptions& options, Communicator& group);
Var all_gather_attention(Tape& tape, const Var& qkv, const AttentionOptions& options, Communicator& group);

}  // namespace megalith
