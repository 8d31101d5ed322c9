#pragma once
// defines: TensorPiece, Run, runs_of

#include <string>
#include <vector>

#include "megalith/autograd/parameter.h"

namespace megalith {

/// Elements of a parameter, or of its optimizer state, that one rank holds: its shard of the whole, and of
/// that, row-major, [begin, begin + length).
struct TensorPiece {
  Shape whole;
  Shard shard = {};
  int64_t begin = 0;
  int64_t length = 0;

  /// The whole shard of a parameter.
  static TensorPiece of(const Parameter& parameter) {
    return {parameter.spec.shape, parameter.spec.shard, 0, parameter.numel()};
  }
  bool is_whole() const { return shard.is_whole() && begin == 0 && length == whole.numel(); }
};

/// Elements that lie side by side in the whole and in the piece.
struct Run {
  int64_t whole_begin = 0, piece_begin = 0, length = 0;
};

/// By ascending place in the whole. Throws Error where the shard does not fit the shape.
std::vector<Run> runs_of(const std::string& name, const TensorPiece& piece);

}  // namespace megalith
