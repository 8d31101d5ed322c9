#include "megalith/tokenizer/piece_counts.h"

#include <cstring>

#include "megalith/base/math.h"

namespace megalith {

/// Eight bytes at a time; the last word is padded with zeros and the length is part of the seed.
uint64_t PieceCounts::hash_of(std::string_view piece) {
  uint64_t hash = piece.size() * 0xC2B2AE3D27D4EB4Full;
  for (size_t i = 0; i < piece.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, piece.data() + i, std::min<size_t>(8, piece.size() - i));
    hash = (hash ^ word) * 0x9E3779B97F4A7C15ull;
    hash ^= hash >> 32;
  }
  return hash;
}

void PieceCounts::add(std::string_view piece, uint64_t hash, int64_t count) {
  if (2 * (entries_.size() + 1) > slots_.size()) grow();
  for (size_t index = hash & (slots_.size() - 1);; index = (index + 1) & (slots_.size() - 1)) {
    if (slots_[index] == 0) {
      entries_.push_back({hash, text_.size(), narrow<uint32_t>(piece.size()), count});
      slots_[index] = narrow<uint32_t>(entries_.size());
      text_ += piece;
      return;
    }
    Entry& entry = entries_[slots_[index] - 1];
    if (entry.hash == hash && bytes_of(entry) == piece) {
      entry.count += count;
      return;
    }
  }
}

void PieceCounts::absorb(PieceCounts& other) {
  for (const Entry& entry : other.entries_) add(other.bytes_of(entry), entry.hash, entry.count);
  other = {};
}

void PieceCounts::grow() {
  slots_.assign(slots_.empty() ? 64 : 2 * slots_.size(), 0);
  for (size_t i = 0; i < entries_.size(); ++i) {
    size_t index = entries_[i].hash & (slots_.size() - 1);
    while (slots_[index] != 0) index = (index + 1) & (slots_.size() - 1);
    slots_[index] = static_cast<uint32_t>(i + 1);
  }
}

}  // namespace megalith
