#pragma once
// defines: SortSmallKeysArgs, sort_small_keys

#include <cstdint>

namespace megalith {
class Exec;
}

namespace megalith::cuda {

/// Keys in [0, num_keys) in ascending order, values with them; equal keys keep their order. Counts and places
/// parts of the list in three short kernels, where a radix sort takes two passes and as many again around
/// them. Throws Error for more keys than shared memory can count (above 6000).
struct SortSmallKeysArgs {
  int64_t count = 0, num_keys = 0;
  const int32_t* keys = nullptr;
  const int32_t* values = nullptr;   ///< null: each key's place
  int32_t* sorted_keys = nullptr;    // [count], out
  int32_t* sorted_values = nullptr;  // [count], out
};
void sort_small_keys(const SortSmallKeysArgs& args, Exec& exec);

}  // namespace megalith::cuda
