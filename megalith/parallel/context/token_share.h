#pragma once
// defines: TokenShare, TokenShareOptions, share_tokens, merged

#include <cstdint>
#include <span>
#include <vector>

namespace megalith {

/// Which tokens of packed rows lie on which context-parallel rank: as many of every row on each of them.
struct TokenShare {
  int64_t batch = 0, seq = 0;
  /// By rank: [B, S / n] places in their rows, ascending within a row.
  std::vector<std::vector<int32_t>> places;

  int ranks() const { return static_cast<int>(places.size()); }
  int64_t local_seq() const { return seq / ranks(); }
  std::span<const int32_t> row(int rank, int64_t b) const {
    return std::span(places[static_cast<size_t>(rank)])
        .subspan(static_cast<size_t>(b * local_seq()), static_cast<size_t>(local_seq()));
  }
};

struct TokenShareOptions {
  int ranks = 1;
  int64_t batch = 1, seq = 0;  ///< seq: a multiple of 2 n
  /// 0: every document is shared by all ranks. Else a document of up to as many tokens lies on one rank, of
  /// up to twice as many on two, and so on (Megatron's hybrid context parallelism).
  int64_t max_seqlen_per_rank = 0;
};

/// Documents are what lies between two of `cu_seqlens`, which cuts all B S tokens and cuts rows apart. A
/// document on k ranks is cut into 2 k equal chunks, of which the i-th of these ranks has the chunks i and
/// 2 k - 1 - i, so that all of them have as much causal attention to do (zigzag, as Megatron's THD form
/// does). What that leaves of a document, fewer than 2 k tokens, fills the ranks up one after another.
///
/// With max_seqlen_per_rank the longest documents choose first, the ranks with the least attention among
/// those that have room; where too few have, the document is shared by more of them, and where not even all
/// have, it fills the ranks up.
TokenShare share_tokens(std::span<const int32_t> cu_seqlens, const TokenShareOptions& options);

/// Each `count` neighbouring ranks as one.
TokenShare merged(const TokenShare& share, int count);

}  // namespace megalith
