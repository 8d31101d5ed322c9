#include "megalith/parallel/expert/arrival_order.h"

#include <numeric>

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
  std::vector<int32_t> from, to(static_cast<size_t>(args.num_blocks * args.block_length), -1), offsets = {0};
  from.reserve(static_cast<size_t>(std::accumulate(args.counts.begin(), args.counts.end(), int64_t{0})));
  for (int64_t e = 0; e < args.num_experts; ++e) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const auto i = static_cast<size_t>(chunk * args.num_experts + e);
      for (int64_t row = begins[i]; row < begins[i] + args.counts[i]; ++row) {
        to[static_cast<size_t>(row)] = narrow<int32_t>(static_cast<int64_t>(from.size()));
        from.push_back(narrow<int32_t>(row));
      }
    }
    offsets.push_back(narrow<int32_t>(static_cast<int64_t>(from.size())));
  }
  const auto ints = [&](const std::vector<int32_t>& values, const Shape& shape) {
    return exec.from_host(std::span<const int32_t>(values), shape);
  };
  return {.map = {.from = ints(from, {static_cast<int64_t>(from.size())}),
                  .to = ints(to, {static_cast<int64_t>(to.size()), 1})},
          .offsets = ints(offsets, {args.num_experts + 1})};
}

}  // namespace megalith
