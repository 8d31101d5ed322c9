#pragma once
// defines: PieceCounts

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace megalith {

/// How often each piece occurs: a hash table whose keys lie one after the other in one string.
class PieceCounts {
 public:
  struct Entry {
    uint64_t hash;
    uint64_t begin;  ///< of its bytes
    uint32_t num_bytes;
    int64_t count;
  };

  static uint64_t hash_of(std::string_view piece);

  void add(std::string_view piece, uint64_t hash, int64_t count);
  /// Adds all of `other` and leaves it empty.
  void absorb(PieceCounts& other);

  size_t size() const { return entries_.size(); }
  const std::vector<Entry>& entries() const { return entries_; }
  std::string_view bytes_of(const Entry& entry) const {
    return std::string_view(text_).substr(entry.begin, entry.num_bytes);
  }

 private:
  void grow();

  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  ///< index into entries_ plus 1, 0 is free; linear probes
  std::string text_;
};

}  // namespace megalith
