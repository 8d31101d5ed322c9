#pragma once
// defines: kUnusedRow, PeerNumbers, PeerLists, PeerMapArgs, count_from_peers, find_way_back,
// find_copies_and_rows

#include <cstdint>

#include "megalith/kernels/cuda/peer_rows.h"

namespace megalith::cuda {

constexpr int32_t kUnusedRow = -2;  ///< RowMap::kUnused

/// What ranks' numbers say, as ops/peer_maps.h has it. Rows and copies are counted as if all had room.
struct PeerNumbers {
  int32_t* offsets = nullptr;       // [experts_of_rank + 1]: of this rank's rows, none behind `rows`
  int32_t* begins = nullptr;        // [experts_of_rank, num_ranks]: the row here of a sender's first one
  int32_t* firsts_here = nullptr;   // [num_ranks + 1]: where the copies of each sender begin
  int32_t* firsts_there = nullptr;  // [num_ranks]: where this rank's copies begin at each
  int32_t* shifts = nullptr;        // [num_experts]: from this rank's rows to those of their owner
  int32_t* sizes = nullptr;         // [2]: rows and copies that come here
  double* dropped = nullptr;        // [1] or null: grows by the rows that find no room
};

/// By rank, in its memory.
struct PeerLists {
  const int32_t* offsets[kMaxPeers] = {};  // [num_experts + 1]
  const int32_t* counts[kMaxPeers] = {};   // [num_ranks]
  const int32_t* choices[kMaxPeers] = {};  // [num_tokens, topk]
  const int32_t* tokens[kMaxPeers] = {};   // [num_ranks, num_tokens]
  const int32_t* places[kMaxPeers] = {};   // [num_tokens, num_ranks]
};

struct PeerMapArgs {
  int64_t num_ranks = 0, own_rank = 0;
  int64_t num_experts = 0, experts_of_rank = 1;
  int64_t num_tokens = 0, topk = 1;
  int64_t rows = 0, copies = 0;      ///< for which there is room
  const int32_t* experts = nullptr;  // [num_tokens, topk], of this rank
  const int32_t* way = nullptr;      // [num_tokens, topk]: its rows, -1: none
  PeerLists of;
  PeerNumbers numbers;
  // Out.
  int32_t* places = nullptr;                                // [num_tokens, num_ranks]; -1: no copy there
  int32_t *back_peer = nullptr, *back_place = nullptr;      // [num_tokens, topk]
  int32_t *source_peer = nullptr, *source_place = nullptr;  // [copies]
  int32_t *choice_peer = nullptr, *choice_place = nullptr;  // [rows]
  int32_t *from = nullptr, *to = nullptr;                   // [rows], [copies, topk]; from kUnusedRow
                                                            // behind the rows that come
};

/// Fills `numbers`.
void count_from_peers(const PeerMapArgs& args, Exec& exec);
/// Behind it: where this rank's tokens have copies, and its choices rows.
void find_way_back(const PeerMapArgs& args, Exec& exec);
/// Behind count_from_peers: what comes here.
void find_copies_and_rows(const PeerMapArgs& args, Exec& exec);

}  // namespace megalith::cuda
