#include "megalith/parallel/context/ring_plan.h"

#include <algorithm>

namespace megalith {

bool RingPlan::meets(int query_rank, int key_rank) const {
  if (packed_ != nullptr) return packed_->meets(query_rank, key_rank, heads_->options.window);
  if (heads_->options.window < 0) return true;  // every second half stands behind all first halves
  return !half_meetings(query_rank, key_rank).empty();
}

bool RingPlan::all_meet(int places) const {
  const int n = heads_->zigzag.ranks;
  for (int rank = 0; rank < n; ++rank)
    if (!meets(rank, (rank + n - places) % n)) return false;
  return true;
}

std::vector<Meeting> RingPlan::meetings(int key_rank, Exec& exec) const {
  if (packed_ == nullptr) return half_meetings(heads_->rank, key_rank);
  const VisibleKeys visible = packed_->keys(heads_->rank, key_rank, heads_->options.window, exec);
  if (!visible.end.defined()) return {};
  return {{.part = 0,
           .queries = heads_->all(),
           .keys = heads_->all(),
           .visible = visible,
           .stream = static_cast<uint64_t>(heads_->rank * heads_->zigzag.ranks + key_rank)}};
}

std::vector<Meeting> RingPlan::half_meetings(int query_rank, int key_rank) const {
  const Zigzag& zigzag = heads_->zigzag;
  const int64_t chunk = zigzag.chunk(), window = heads_->options.window;
  std::vector<Meeting> all;
  for (int q = 0; q < 2; ++q) {
    for (const int k : {q, 1 - q}) {
      const int query_chunk = zigzag.chunk_of(query_rank, q), key_chunk = zigzag.chunk_of(key_rank, k);
      // From the first query's place to the first key's; a query and a key are nearer or further by up to a
      // chunk less one.
      const int64_t gap = (query_chunk - key_chunk) * chunk;
      const int64_t nearest = std::max<int64_t>(gap - (chunk - 1), 0), furthest = gap + chunk - 1;
      if (key_chunk > query_chunk || (window >= 0 && nearest > window)) continue;
      Meeting meeting{.part = q,
                      .queries = heads_->half(q),
                      .keys = heads_->half(k),
                      .is_causal = gap == 0,
                      .stream = static_cast<uint64_t>(query_chunk * 2 * zigzag.ranks + key_chunk)};
      if (window >= 0 && furthest > window) {
        meeting.window = window;
        meeting.key_gap = gap;
      }
      all.push_back(meeting);
    }
  }
  return all;
}

}  // namespace megalith
