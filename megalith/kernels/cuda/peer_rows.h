#pragma once
// defines: kMaxPeers, ReadPeerElementsArgs, read_peer_elements, FindArrivalsArgs, find_arrivals,
// FindWayBackArgs, find_way_back, FindCopiesArgs, find_copies

#include <cstdint>

#include "megalith/core/dtype.h"

namespace megalith {
class Exec;
}

namespace megalith::cuda {

constexpr int kMaxPeers = 64;

/// out[n] = element place[n] of the tensor of rank peer[n]; 0 where peer is -1.
struct ReadPeerElementsArgs {
  DType dtype = DType::kF32;
  int64_t count = 0;
  const int32_t* peer = nullptr;        // [count]
  const int32_t* place = nullptr;       // [count]
  const void* sources[kMaxPeers] = {};  ///< by rank, on any GPU that this one reaches
  void* out = nullptr;                  // [count]
};
void read_peer_elements(const ReadPeerElementsArgs& args, Exec& exec);

/// Segment s of [sender, first row at the sender, first row here] holds the rows up to the next segment's
/// first one, or `arriving_rows`: peer[m] = sender, place[m] = choices of the sender[its row]. Peer is -1
/// where that is -1, and behind the rows that arrive.
struct FindArrivalsArgs {
  int64_t rows = 0, arriving_rows = 0, num_segments = 0;
  const int32_t* segments = nullptr;  // [num_segments, 3], by ascending row here
  const int32_t* choices[kMaxPeers] = {};
  int32_t* peer = nullptr;
  int32_t* place = nullptr;
};
void find_arrivals(const FindArrivalsArgs& args, Exec& exec);

/// peer[i] = experts[i] / experts_of_rank, place[i] = rows[i] + shifts[experts[i]]; peer -1 where rows is.
struct FindWayBackArgs {
  int64_t num_choices = 0;
  int64_t experts_of_rank = 1;
  const int32_t* experts = nullptr;
  const int32_t* rows = nullptr;
  const int32_t* shifts = nullptr;
  int32_t* peer = nullptr;
  int32_t* place = nullptr;
};
void find_way_back(const FindWayBackArgs& args, Exec& exec);

/// Copies [firsts[r], firsts[r + 1]) are of rank r, of the tokens its list names for own_rank; peer is -1
/// behind them. Row m of choice arrival_place[m] of rank arrival_peer[m] is of the copy that its token's
/// place says, and stands in `to`, which holds -1 before, where the choice stands among its token's.
struct FindCopiesArgs {
  int64_t copies = 0, rows = 0, topk = 1;
  int64_t num_ranks = 0, own_rank = 0, num_tokens = 0;
  int32_t firsts[kMaxPeers + 1] = {};
  const int32_t* tokens[kMaxPeers] = {};   // [num_ranks, num_tokens] each
  const int32_t* places[kMaxPeers] = {};   // [num_tokens, num_ranks] each
  const int32_t* arrival_peer = nullptr;   // [rows]; -1: none
  const int32_t* arrival_place = nullptr;  // [rows]
  int32_t* peer = nullptr;                 // [copies], out
  int32_t* place = nullptr;                // [copies], out
  int32_t* from = nullptr;                 // [rows], out
  int32_t* to = nullptr;                   // [copies, topk], out
};
void find_copies(const FindCopiesArgs& args, Exec& exec);

}  // namespace megalith::cuda
