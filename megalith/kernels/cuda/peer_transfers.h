#pragma once
// defines: SpreadRowsArgs, spread_rows, SendSumsArgs, send_sums, AddSumsArgs, add_sums

#include <cstdint>

#include "megalith/kernels/cuda/peer_rows.h"

namespace megalith::cuda {

/// Copy n is row place[n] of the matrix of rank peer[n]; none where peer is -1. It becomes the rows to[n, k]
/// of `out`, none where that is -1. Rows of `out` whose `from` is -1 become zeros. No matrix has gaps.
struct SpreadRowsArgs {
  DType dtype = DType::kF32;
  int64_t copies = 0, rows = 0, cols = 0, topk = 1;
  const int32_t* peer = nullptr;        // [copies]
  const int32_t* place = nullptr;       // [copies]
  const int32_t* to = nullptr;          // [copies, topk]
  const int32_t* from = nullptr;        // [rows]
  const void* sources[kMaxPeers] = {};  ///< by rank, on any GPU that this one reaches
  void* out = nullptr;                  // [rows, cols]
};
void spread_rows(const SpreadRowsArgs& args, Exec& exec);

/// Row own_rank num_tokens + place[n] of the matrix of rank peer[n] = the sum over k of rows[to[n, k]], k
/// ascending, in f32 (f64 for f64).
struct SendSumsArgs {
  DType dtype = DType::kF32;
  int64_t copies = 0, cols = 0, topk = 1;
  int64_t own_rank = 0, num_tokens = 0;
  const int32_t* peer = nullptr;   // [copies]; -1: none
  const int32_t* place = nullptr;  // [copies]
  const int32_t* to = nullptr;     // [copies, topk]; -1: none
  const void* rows = nullptr;      // [., cols]
  void* slots[kMaxPeers] = {};     ///< by rank, on any GPU that this one reaches: [ranks num_tokens, cols]
};
void send_sums(const SendSumsArgs& args, Exec& exec);

/// out[t] = sum over the ranks r, ascending, with places[t, r] >= 0 of slots[r, t].
struct AddSumsArgs {
  DType dtype = DType::kF32;
  int64_t num_tokens = 0, num_ranks = 0, cols = 0;
  const int32_t* places = nullptr;  // [num_tokens, num_ranks]
  const void* slots = nullptr;      // [num_ranks, num_tokens, cols]
  void* out = nullptr;              // [num_tokens, cols]
};
void add_sums(const AddSumsArgs& args, Exec& exec);

}  // namespace megalith::cuda
