#pragma once
// defines: WordPacker, WordUnpacker

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "megalith/base/math.h"

namespace megalith {

/// Numbers and bytes one after another in whole words, as HostNumbers carries them between ranks.
class WordPacker {
 public:
  void put(int64_t number) { words_.push_back(number); }
  void put(const void* data, int64_t bytes) {
    const size_t at = words_.size();
    words_.resize(at + static_cast<size_t>(ceil_div<int64_t>(bytes, sizeof(int64_t))));
    std::memcpy(words_.data() + at, data, static_cast<size_t>(bytes));
  }
  int64_t& operator[](size_t place) { return words_[place]; }
  size_t size() const { return words_.size(); }
  const std::vector<int64_t>& words() const { return words_; }

 private:
  std::vector<int64_t> words_;
};

/// Reads them back in the same order.
class WordUnpacker {
 public:
  explicit WordUnpacker(std::span<const int64_t> words) : words_(words) {}
  bool is_at_end() const { return words_.empty(); }
  int64_t number() { return *take(sizeof(int64_t)); }
  std::string text(int64_t bytes) {
    return {reinterpret_cast<const char*>(take(bytes)), static_cast<size_t>(bytes)};
  }
  void get(void* to, int64_t bytes) { std::memcpy(to, take(bytes), static_cast<size_t>(bytes)); }

 private:
  const int64_t* take(int64_t bytes) {
    const int64_t* at = words_.data();
    words_ = words_.subspan(static_cast<size_t>(ceil_div<int64_t>(bytes, sizeof(int64_t))));
    return at;
  }
  std::span<const int64_t> words_;
};

}  // namespace megalith
