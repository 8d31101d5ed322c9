#pragma once
// defines: VisibleKeys, PackedContext

#include <map>
#include <memory>
#include <tuple>

#include "megalith/parallel/context/sequence_order.h"
#include "megalith/parallel/context/token_share.h"

namespace megalith {

/// For each query, [first, end) of the keys that it sees: i32 [B, S / n]. Undefined where no query sees any.
struct VisibleKeys {
  Tensor first, end;
};

/// The packed documents of one microbatch among its context-parallel ranks. As tokens lie in the order of
/// their places on every rank, the keys that a query sees of any rank are neighbours there. What the device
/// needs is uploaded at its first use. For one rank's thread; counts its ranks from 0.
class PackedContext {
 public:
  PackedContext(std::span<const int32_t> cu_seqlens, TokenShare share);

  const TokenShare& share() const { return share_; }

  /// Whether a query of one rank sees a key of another. window: as in ops/attention.h.
  bool meets(int query_rank, int key_rank, int64_t window) const;
  /// Keys as they lie on `key_rank`.
  VisibleKeys keys(int query_rank, int key_rank, int64_t window, Exec& exec) const;
  /// Keys in the order of the sequence.
  VisibleKeys whole_keys(int query_rank, int64_t window, Exec& exec) const;
  /// For each token in the order of the sequence: i32 [B, S].
  Tensor first_key(Exec& exec) const;
  /// Of the tokens of ranks [first_rank, first_rank + count).
  SequenceOrder order(int first_rank, int count, Exec& exec) const;
  /// Each `count` neighbouring ranks as one, which has their tokens in the order of the sequence.
  std::shared_ptr<const PackedContext> merged(int count) const;

 private:
  struct Limits {
    std::vector<int32_t> first, end;
  };
  // Keys of rank -1 are those of the whole sequence.
  using Pair = std::tuple<int, int, int64_t>;

  PackedContext(const PackedContext& of, int merged_ranks)
      : document_begin_(of.document_begin_), share_(megalith::merged(of.share_, merged_ranks)) {}
  int64_t first_seen(int64_t row, int32_t place, int64_t window) const;
  const Limits& limits(const Pair& pair) const;
  VisibleKeys upload(const Pair& pair, Exec& exec) const;

  std::vector<int32_t> document_begin_;  // [B, S]: place in its row
  TokenShare share_;
  mutable std::map<Pair, bool> meets_;
  mutable std::map<Pair, Limits> limits_;
  mutable std::map<Pair, VisibleKeys> uploaded_;
  mutable std::map<std::pair<int, int>, SequenceOrder> orders_;
  mutable std::map<int, std::shared_ptr<const PackedContext>> merged_;
  mutable Tensor first_key_;
};

}  // namespace megalith
