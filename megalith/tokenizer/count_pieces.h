#pragma once
// defines: PieceCensus, count_pieces

#include <vector>

#include "megalith/tokenizer/bpe_trainer.h"
#include "megalith/tokenizer/piece_counts.h"

namespace megalith {

/// The pieces of a corpus; a piece is in exactly one of the shards.
struct PieceCensus {
  std::vector<PieceCounts> shards;
  int64_t num_bytes = 0;
  int64_t num_pieces = 0;
  bool is_stopped = false;
};

/// Cuts the texts into pieces and counts them on several threads, with a progress line.
PieceCensus count_pieces(const BpeTrainOptions& options, const NextText& next_text);

}  // namespace megalith
