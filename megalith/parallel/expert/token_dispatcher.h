#pragma once
// defines: DispatcherKind, DispatchPlan, DispatchedTokens, TokenDispatcher

#include <optional>

#include "megalith/autograd/functions/exchange_rows.h"
#include "megalith/autograd/functions/peer_rows.h"
#include "megalith/autograd/tape.h"
#include "megalith/ops/expert_order.h"
#include "megalith/parallel/expert/expert_shard.h"

namespace megalith {

/// kAllToAll: each row goes to the rank that holds its expert and comes back. kAllGather: every rank of an
/// expert group sees all tokens, takes those of its experts, and the sums are scattered. The numbers are the
/// same but for the order of sums.
enum class DispatcherKind { kAllToAll, kAllGather };

/// How the rows of one microbatch came to their experts, for the way back.
struct DispatchPlan {
  ExpertOrder order;  ///< rows sorted by expert: of this rank's tokens, of the copies that came, with
                      ///< kAllGather of all tokens
  bool is_exchanged = false;
  std::optional<PeerRoutes> routes;  ///< where ranks read rows from each other's memory, in place of the next
  RowMap copies;                     ///< this rank's tokens to what it sends: one row for each rank
  RowExchange exchange;              ///< of these rows over ep
};

struct DispatchedTokens {
  Var x;           // [M, H]: rows sorted by expert, on a GPU perhaps with zeros behind them
  Var probs;       // [M, 1]
  Tensor offsets;  // [experts of the rank + 1] i32: the rows of each expert
  DispatchPlan plan;
};

/// Brings tokens to the experts that were chosen for them and their results back (Lepikhin et al. 2021). The
/// ranks of the ep axis hold different experts; those of etp hold parts of the same experts, share their
/// tokens before and their sums after. Every rank comes with tokens of its own, as many as its peers. Choices
/// of -1 go nowhere.
///
/// With kAllToAll a token goes once to each rank that holds some of its experts, whatever their number. Its
/// results are summed at that rank, in the order of the choices, rounded, and then over the ranks in their
/// order; so is the gradient of the token.
///
/// kAllToAll between rank threads whose GPUs reach each other, without etp: a rank's kernels read tokens
/// from where they lie, straight into sorted rows, and write sums of rows to the tokens' owners, with the
/// bits of the exchange; nothing is packed. Making a dispatcher is a collective.
///
/// On a GPU the host waits once for a dispatch, for the numbers of rows that set the sizes of tensors, and
/// twice where rows are exchanged. With rank_capacity_factor or rows_per_expert it does not wait, but once
/// for an exchange; nor on one rank without dropped choices. The backward never waits.
class TokenDispatcher {
 public:
  TokenDispatcher(DispatcherKind kind, int64_t num_experts, const Mesh& mesh)
      : kind_(kind), num_experts_(num_experts), shard_(expert_shard(num_experts, mesh)), mesh_(&mesh) {
    const bool travels_beside =
        mesh.config().moe_shared_expert_overlap || mesh.config().overlap_moe_expert_parallel_comm;
    if (kind == DispatcherKind::kAllToAll && etp().size() == 1 && !travels_beside)
      peers_ = make_peer_access(ep());
  }

  struct Choice {
    Var probs;       // [T, k]
    Tensor experts;  // [T, k] i32
    /// Above 0: each rank sends that many rows to every expert, zeros where it has fewer (kAllToAll).
    int64_t rows_per_expert = 0;
    bool has_dropped = false;  ///< some of `experts` may be -1
    /// Above 0, at least 1: the experts of a rank have room for that many times the rows of an even load, and
    /// for as many copies (kAllToAll). Where more come, the last ones by expert, sender and token find none,
    /// nor do rows of the last copies by sender and token: these choices count for nothing, forward and
    /// backward.
    double rank_capacity_factor = 0;
    Tensor dropped;  ///< [1] f64 or undefined: grows by them, at the rank of the experts, if the tape records
  };
  /// x [T, H].
  DispatchedTokens dispatch(Tape& tape, const Var& x, const Choice& choice) const {
    return end_dispatch(tape, begin_dispatch(tape, x, choice));
  }
  /// y [M, H], already weighted, of which ranks of etp hold terms -> [T, H]: the sum for each token.
  Var combine(Tape& tape, const Var& y, const DispatchPlan& plan) const {
    return end_combine(tape, begin_combine(tape, y, plan), plan);
  }

  /// The same in two calls, between which the rows may be under way: with kAllToAll and one of the options
  /// that ask for it (Mesh::expert_exchange) beside the functions called in between, else in the first call.
  /// The plan is whole, the rows are not to be touched before the second.
  DispatchedTokens begin_dispatch(Tape& tape, const Var& x, const Choice& choice) const;
  DispatchedTokens end_dispatch(Tape& tape, DispatchedTokens begun) const;
  Var begin_combine(Tape& tape, const Var& y, const DispatchPlan& plan) const;
  Var end_combine(Tape& tape, const Var& begun, const DispatchPlan& plan) const;

 private:
  struct Room {
    int64_t rows = 0, copies = 0;  ///< at a rank; 0: for all
  };
  Room room_for(const Choice& choice) const;
  static Tensor counter(const Choice& choice, const Tape& tape);
  /// This rank's choices; max_rows where their number is not known.
  ExpertOrder sorted(const Choice& choice, int64_t max_rows, Exec& exec) const;
  DispatchedTokens all_to_all(Tape& tape, const Var& x, const Choice& choice) const;
  void exchange(Tape& tape, const Var& x, const Choice& choice, DispatchedTokens& result) const;
  void pull(Tape& tape, const Var& x, const Choice& choice, DispatchedTokens& result) const;
  DispatchedTokens all_gather(Tape& tape, const Var& x, const Choice& choice) const;
  Communicator& ep() const { return mesh_->group(Axis::kEp); }
  Communicator& etp() const { return mesh_->group(Axis::kEtp); }

  DispatcherKind kind_;
  int64_t num_experts_;
  ExpertShard shard_;
  const Mesh* mesh_;
  std::shared_ptr<PeerAccess> peers_;  // null: rows are exchanged
};

}  // namespace megalith
