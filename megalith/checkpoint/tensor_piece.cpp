#include "megalith/checkpoint/tensor_piece.h"

#include <algorithm>

namespace megalith {

std::vector<Run> runs_of(const std::string& name, const TensorPiece& piece) {
  const ParameterSpec spec{.name = name, .shape = piece.whole, .init = {}, .shard = piece.shard};
  const int64_t end = piece.begin + piece.length;
  MG_CHECK(piece.begin >= 0 && piece.length >= 0 && end <= spec.local_shape().numel(),
           "'{}': elements {} to {} of a shard of {}", name, piece.begin, end, spec.local_shape().numel());
  std::vector<Run> runs;
  spec.visit_runs([&](int64_t whole_begin, int64_t local_begin, int64_t length) {
    const int64_t first = std::max(local_begin, piece.begin);
    const int64_t last = std::min(local_begin + length, end);
    if (first < last) runs.push_back({whole_begin + first - local_begin, first - piece.begin, last - first});
  });
  std::sort(runs.begin(), runs.end(),
            [](const Run& a, const Run& b) { return a.whole_begin < b.whole_begin; });
  return runs;
}

}  // namespace megalith
