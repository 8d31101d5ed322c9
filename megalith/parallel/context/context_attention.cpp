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
