#pragma once
// defines: threads_for, RowChunks, split_rows

#include <algorithm>
#include <cstdint>

#include "megalith/base/math.h"

namespace megalith::cpu {

/// Threads worth waking for a pass over `elements`: each gets at least 16 Ki of them, some microseconds of
/// work.
inline int threads_for(int64_t elements, int num_threads) {
  constexpr int64_t kElementsPerThread = 16384;
  return static_cast<int>(std::clamp<int64_t>(elements / kElementsPerThread, 1, num_threads));
}

/// A reduction over rows in parts: `count` chunks of `rows` rows, the last one shorter.
struct RowChunks {
  int64_t count = 0;
  int64_t rows = 1;
};

/// The split depends on the data's size alone, so that the order of the sums is the same for any number of
/// threads.
inline RowChunks split_rows(int64_t rows) {
  constexpr int64_t kMaxChunks = 64;
  constexpr int64_t kMinRows = 16;
  const int64_t chunk_rows = std::max(kMinRows, ceil_div(rows, kMaxChunks));
  return {ceil_div(rows, chunk_rows), chunk_rows};
}

}  // namespace megalith::cpu
