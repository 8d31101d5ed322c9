#include "megalith/parallel/expert/arrival_order.h"

#include "megalith/base/math.h"

namespace megalith {

Arrival arrival_order(const ArrivalArgs& args, Exec& exec) {
  const int64_t chunks = args.num_blocks * args.num_senders;
  MG_ASSERT(static_cast<int64_t>(args.counts.size()) == chunks * args.num_experts);
  std::vector<int64_t> begins(args.counts.size());  // of each chunk's rows of an expert
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    int64_t place = chunk / args.num_senders * args.block_length;
    if (chunk % args.num_senders != 0) {
      const auto last = static_cast<size_t>(chunk * args.num_experts - 1);
      place = begins[last] + args.counts[last];
    }
    for (int64_t e = 0; e < args.num_experts; ++e) {
      const auto i = static_cast<size_t>(chunk * args.num_experts + e);
      begins[i] = place;
      place += args.counts[i];
    }
  }
  std::vector<RowSegment> segments;
  std::vector<int32_t> offsets = {0};
  int64_t rows = 0;
  for (int64_t e = 0; e < args.num_experts; ++e) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const auto i = static_cast<size_t>(chunk * args.num_experts + e);
      if (args.counts[i] == 0) continue;
      segments.push_back({.first_row = begins[i], .first_copy = rows, .length = args.counts[i]});
      rows += args.counts[i];
    }
    offsets.push_back(narrow<int32_t>(rows));
  }
  return {.map = map_of_segments(segments, args.num_blocks * args.block_length, rows, exec),
          .offsets = exec.from_host(std::span<const int32_t>(offsets), {args.num_experts + 1})};
}

}  // namespace megalith
