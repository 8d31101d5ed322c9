#pragma once
// defines: HeadExchange, heads_to_sequence, sequence_to_heads

#include <vector>

#include "megalith/autograd/tape.h"
#include "megalith/comm/communicator.h"
#include "megalith/parallel/context/sequence_order.h"

namespace megalith {

/// Moves rows between "my tokens, all heads" and "all tokens of the group, my heads". `blocks`: heads of each
/// kind, of which every rank gets its share: {N, K, K} for fused rows, {N} for outputs.
struct HeadExchange {
  Communicator* group;
  SequenceOrder order;
  int64_t batch, head_dim;
  std::vector<int64_t> blocks;

  /// [T / n, heads D] -> [T, heads / n D], sequences whole.
  Tensor to_sequence(const Tensor& rows, Exec& exec) const;
  /// The inverse.
  Tensor to_heads(const Tensor& rows, Exec& exec) const;

 private:
  int64_t share() const;
  Tensor of_rank(const Tensor& by_rank, int64_t rank) const;
  template <class Visit>
  void visit_shares(const Visit& visit) const;
};

// Both ways as functions on the tape: the gradient of one goes the other way.
Var heads_to_sequence(Tape& tape, const Var& x, const HeadExchange& exchange);
Var sequence_to_heads(Tape& tape, const Var& x, const HeadExchange& exchange);

}  // namespace megalith
