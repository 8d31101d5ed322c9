#include "megalith/parallel/context/context_attention.h"

#include "megalith/base/error.h"

namespace megalith {

ContextKind parse_context_kind(std::string_view name) {
  if (name == "p2p") return ContextKind::kRing;
  if (name == "a2a") return ContextKind::kAllToAll;
  if (name == "all_gather") return ContextKind::kAllGather;
  if (name == "a2a+p2p") return ContextKind::kHierarchical;
  throw UsageError(
      fmt::format("there is no cp_comm_type '{}'; there are: p2p, a2a, all_gather, a2a+p2p", name));
}

void check_shared_heads(int64_t num_heads, int64_t num_query_groups, int num_ranks) {
  if (num_heads % num_ranks != 0 || num_query_groups % num_ranks != 0)
    throw UsageError(
        fmt::format("cp_comm_type a2a: {} heads and {} query groups of a rank cannot be shared by {} "
                    "context-parallel ranks; p2p and all_gather can do that",
                    num_heads, num_query_groups, num_ranks));
}

Var context_attention(Tape& tape, const Var& qkv, const AttentionOptions& options,
                      const ContextPeers& peers) {
  switch (peers.kind) {
    case ContextKind::kRing:
      return ring_attention(tape, qkv, options, *peers.ring, peers.packed);
    case ContextKind::kAllToAll:
      return all_to_all_attention(tape, qkv, options, peers);
    case ContextKind::kAllGather:
      return all_gather_attention(tape, qkv, options, peers);
    case ContextKind::kHierarchical:
      break;
  }
  return hierarchical_attention(tape, qkv, options, peers);
}

}  // namespace megalith
