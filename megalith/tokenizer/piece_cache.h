#pragma once
// defines: PieceCache

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace megalith {

/// Token ids of the pieces that a thread has seen. Pieces of up to 15 bytes and 3 ids, nearly all of them,
/// live in their slot of 32 bytes; the rest points into two pools. When it is full it is emptied, so memory
/// is bounded (about 2 MiB of slots) and the cache follows the text.
class PieceCache {
 public:
  PieceCache();

  /// Appends the ids of the piece and returns true, or returns false. Pieces are not empty.
  bool find(std::string_view piece, std::vector<int32_t>& ids) const;

  /// Remembers the ids of a piece that find() did not know. Very long pieces are not kept.
  void insert(std::string_view piece, std::span<const int32_t> ids);

 private:
  struct Key {
    uint64_t low;   ///< bytes 0-7, or the hash of a long piece
    uint64_t high;  ///< bytes 8-14 and the length on top; 0xFF on top marks a long piece
    bool operator==(const Key&) const = default;
  };
  struct Slot {
    Key key{};
    uint32_t num_ids = 0;  ///< 0: free
    int32_t ids[3] = {};   ///< the ids, or the offsets of ids and text in their pools
  };
  static Key key_of(std::string_view piece);
  static bool is_long(const Key& key) { return key.high >> 56 == 0xFF; }
  size_t home(const Key& key) const;
  size_t locate(const Key& key, std::string_view piece) const;
  void grow_or_clear();

  std::vector<Slot> slots_;
  size_t num_used_ = 0;
  int shift_ = 0;
  std::vector<int32_t> id_pool_;
  std::string text_pool_;
};

}  // namespace megalith
