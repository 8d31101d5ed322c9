#pragma once
// defines: is_short_run, at_most

#include <cstdint>
#include <cstdlib>

namespace megalith {

/// True under tools that slow each kernel down a hundredfold (tools/sanitize_gpu.py sets MG_SHORT_RUNS): runs
/// of many like steps stop after the first ones. What needs the later steps is not looked at then.
inline bool is_short_run() {
  return std::getenv("MG_SHORT_RUNS") != nullptr;
}

/// `count` repetitions, in a short run `few`.
inline int64_t at_most(int64_t few, int64_t count) {
  return is_short_run() ? few : count;
}

}  // namespace megalith
