#pragma once
// defines: DispatcherKind, DispatchPlan, DispatchedTokens, TokenDispatcher

#include "megalith/autograd/functions/exchange_rows.h"
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
  ExpertOrder order;     ///< of this rank's tokens, or with kAllGather of all
  RowExchange exchange;  ///< over ep
  RowMap arrival;        ///< received rows to rows sorted by expert
  bool is_exchanged = false;
};

struct DispatchedTokens {
  Var x;           // [M, H]: rows sorted by expert
  Var probs;       // [M, 1]
  Tensor offsets;  // [experts of the rank + 1] i32: the rows of each expert
  DispatchPlan plan;
};

/// Brings tokens to the experts that were chosen for them and their results back (Lepikhin et al. 2021). The
/// ranks of the ep axis hold different experts; those of etp hold parts of the same experts, share their
/// tokens before and their sums after. Every rank comes with tokens of its own, as many as its peers. No
/// token is dropped here; choices of -1 go nowhere.
class TokenDispatcher {
 public:
  TokenDispatcher(DispatcherKind kind, int64_t num_experts, const Mesh& mesh)
      : kind_(kind), num_experts_(num_experts), shard_(expert_shard(num_experts, mesh)), mesh_(&mesh) {}

  struct Choice {
    Var probs;       // [T, k]
    Tensor experts;  // [T, k] i32
    /// Above 0: each rank sends that many rows to every expert, zeros where it has fewer (kAllToAll).
    int64_t rows_per_expert = 0;
  };
  /// x [T, H].
  DispatchedTokens dispatch(Tape& tape, const Var& x, const Choice& choice) const;
  /// y [M, H], already weighted, of which ranks of etp hold terms -> [T, H]: the sum for each token.
  Var combine(Tape& tape, const Var& y, const DispatchPlan& plan) const;

 private:
  DispatchedTokens all_to_all(Tape& tape, const Var& x, const Choice& choice) const;
  DispatchedTokens all_gather(Tape& tape, const Var& x, const Choice& choice) const;
  Communicator& ep() const { return mesh_->group(Axis::kEp); }
  Communicator& etp() const { return mesh_->group(Axis::kEtp); }

  DispatcherKind kind_;
  int64_t num_experts_;
  ExpertShard shard_;
  const Mesh* mesh_;
};

}  // namespace megalith
