#pragma once
// defines: kMaxPeers, CombinePeerRowsArgs, combine_peer_rows, FindArrivalsArgs, find_arrivals,
// FindWayBackArgs, find_way_back

#include <cstdint>

#include "megalith/core/dtype.h"

namespace megalith {
class Exec;
}

namespace megalith::cuda {

constexpr int kMaxPeers = 64;

/// out[n] = sum over `terms`, in order, of row place[n, k] / divisor of the matrix of rank peer[n, k]; none
/// where peer is -1. All matrices have `cols` columns and no gaps.
struct CombinePeerRowsArgs {
  DType dtype = DType::kF32;
  int64_t rows = 0, cols = 0, terms = 0;
  const int32_t* peer = nullptr;   // [rows, terms]
  const int32_t* place = nullptr;  // [rows, terms]
  int32_t divisor = 1;
  const void* sources[kMaxPeers] = {};  ///< by rank, on any GPU that this one reaches
  void* out = nullptr;                  // [rows, cols]
};
void combine_peer_rows(const CombinePeerRowsArgs& args, Exec& exec);

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

}  // namespace megalith::cuda
