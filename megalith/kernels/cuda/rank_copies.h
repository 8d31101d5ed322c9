#pragma once
// defines: PlaceCopiesArgs, place_copies, ListCopiesArgs, list_copies

#include <cstdint>

namespace megalith {
class Exec;
}

namespace megalith::cuda {

/// As in ops/rank_copies.h.
struct PlaceCopiesArgs {
  int64_t num_tokens = 0, topk = 0, num_ranks = 0, experts_of_rank = 1;
  const int32_t* experts = nullptr;  // [num_tokens, topk]
  int32_t* tokens = nullptr;         // [num_ranks, num_tokens], out
  int32_t* places = nullptr;         // [num_tokens, num_ranks], out
  int32_t* counts = nullptr;         // [num_ranks], out
};
void place_copies(const PlaceCopiesArgs& args, Exec& exec);

struct ListCopiesArgs {
  int64_t num_tokens = 0, num_ranks = 0, num_copies = 0, topk = 0;
  const int32_t* places = nullptr;       // [num_tokens, num_ranks]
  const int32_t* counts = nullptr;       // [num_ranks]
  const int32_t* experts = nullptr;      // [num_tokens, topk]
  int32_t* from = nullptr;               // [num_copies], out
  int32_t* to = nullptr;                 // [num_tokens, num_ranks], out
  int32_t* experts_of_copies = nullptr;  // [num_copies, topk], out
};
void list_copies(const ListCopiesArgs& args, Exec& exec);

}  // namespace megalith::cuda
