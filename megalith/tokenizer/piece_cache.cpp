#include "megalith/tokenizer/piece_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace megalith {
namespace {

constexpr size_t kFirstSlots = 256;
constexpr size_t kMostSlots = size_t{1} << 16;
constexpr size_t kLongestPiece = 256;  // bytes
constexpr size_t kShortPiece = 15;
constexpr size_t kInlineIds = 3;

template <class T>
uint64_t load(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

uint64_t hash_long(std::string_view piece) {
  uint64_t hash = piece.size();
  const auto absorb = [&](uint64_t word) {
    hash = (hash ^ word) * 0x9E3779B97F4A7C15ull;
    hash ^= hash >> 32;
  };
  for (size_t i = 0; i + 8 < piece.size(); i += 8) absorb(load<uint64_t>(piece.data() + i));
  absorb(load<uint64_t>(piece.data() + piece.size() - 8));  // overlaps the word before
  return hash;
}

}  // namespace

PieceCache::PieceCache() : slots_(kFirstSlots), shift_(64 - std::countr_zero(kFirstSlots)) {}

/// Two overlapping loads read any length without touching a byte outside the piece.
PieceCache::Key PieceCache::key_of(std::string_view piece) {
  const char* bytes = piece.data();
  const size_t size = piece.size();
  const uint64_t length = static_cast<uint64_t>(size) << 56;
  if (size < 4) {
    const auto byte = [&](size_t i) {
      return static_cast<uint64_t>(static_cast<uint8_t>(bytes[i])) << 8 * i;
    };
    return {byte(0) | byte(size / 2) | byte(size - 1), length};
  }
  if (size < 8) return {load<uint32_t>(bytes) | load<uint32_t>(bytes + size - 4) << 8 * (size - 4), length};
  if (size == 8) return {load<uint64_t>(bytes), length};
  if (size <= kShortPiece)
    return {load<uint64_t>(bytes), length | load<uint64_t>(bytes + size - 8) >> 8 * (16 - size)};
  return {hash_long(piece), 0xFFull << 56 | size};
}

size_t PieceCache::home(const Key& key) const {
  uint64_t hash = key.low * 0x9E3779B97F4A7C15ull ^ std::rotl(key.high * 0xC2B2AE3D27D4EB4Full, 31);
  hash = (hash ^ hash >> 32) * 0xD6E8FEB86659FD93ull;
  return hash >> shift_;
}

/// The index of the piece's slot, or of the free one where it belongs.
size_t PieceCache::locate(const Key& key, std::string_view piece) const {
  for (size_t index = home(key);; index = (index + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[index];
    if (slot.num_ids == 0) return index;
    if (slot.key != key) continue;
    if (!is_long(key) || std::string_view(text_pool_).substr(slot.ids[1], piece.size()) == piece)
      return index;
  }
}

bool PieceCache::find(std::string_view piece, std::vector<int32_t>& ids) const {
  const Key key = key_of(piece);
  const Slot& slot = slots_[locate(key, piece)];
  if (slot.num_ids == 0) return false;
  if (slot.num_ids == 1 && !is_long(key)) {
    ids.push_back(slot.ids[0]);
    return true;
  }
  const bool is_inline = slot.num_ids <= kInlineIds && !is_long(key);
  const int32_t* first = is_inline ? slot.ids : id_pool_.data() + slot.ids[0];
  ids.insert(ids.end(), first, first + slot.num_ids);
  return true;
}

void PieceCache::insert(std::string_view piece, std::span<const int32_t> ids) {
  if (piece.size() > kLongestPiece || ids.empty()) return;
  if (3 * (num_used_ + 1) > 2 * slots_.size()) grow_or_clear();
  const Key key = key_of(piece);
  Slot& slot = slots_[locate(key, piece)];
  if (slot.num_ids != 0) return;
  slot.key = key;
  slot.num_ids = static_cast<uint32_t>(ids.size());
  if (ids.size() <= kInlineIds && !is_long(key)) {
    std::copy(ids.begin(), ids.end(), slot.ids);
  } else {
    slot.ids[0] = static_cast<int32_t>(id_pool_.size());
    id_pool_.insert(id_pool_.end(), ids.begin(), ids.end());
    slot.ids[1] = static_cast<int32_t>(text_pool_.size());
    if (is_long(key)) text_pool_ += piece;
  }
  ++num_used_;
}

void PieceCache::grow_or_clear() {
  if (slots_.size() >= kMostSlots) {
    std::fill(slots_.begin(), slots_.end(), Slot{});
    id_pool_.clear();
    text_pool_.clear();
    num_used_ = 0;
    return;
  }
  std::vector<Slot> old(2 * slots_.size());
  old.swap(slots_);
  --shift_;
  for (const Slot& slot : old) {
    if (slot.num_ids == 0) continue;
    size_t index = home(slot.key);
    while (slots_[index].num_ids != 0) index = (index + 1) & (slots_.size() - 1);
    slots_[index] = slot;
  }
}

}  // namespace megalith
