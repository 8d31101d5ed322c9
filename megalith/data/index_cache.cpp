#include "megalith/data/index_cache.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include <fmt/ranges.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/log.h"

namespace megalith {

uint64_t hash_bytes(std::span<const std::byte> bytes) {
  // Four independent multiply-rotate lanes of 8-byte words keep pace with memory; the finish is splitmix64's.
  constexpr uint64_t kOdd = 0x9E3779B97F4A7C15ull;
  std::array<uint64_t, 4> lanes{1, 2, 3, 4};
  size_t word_index = 0;
  for (size_t at = 0; at < bytes.size(); at += sizeof(uint64_t), ++word_index) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, std::min(sizeof word, bytes.size() - at));
    uint64_t& lane = lanes[word_index % lanes.size()];
    lane = std::rotl((lane ^ word) * kOdd, 29);
  }
  uint64_t hash = bytes.size();
  for (const uint64_t lane : lanes) {
    hash = (hash ^ lane) + kOdd;
    hash = (hash ^ (hash >> 30)) * 0xBF58476D1CE4E5B9ull;
    hash = (hash ^ (hash >> 27)) * 0x94D049BB133111EBull;
    hash ^= hash >> 31;
  }
  return hash;
}

IndexCache::IndexCache(std::filesystem::path directory, std::string kind, std::string key,
                       OnWriteFailure on_write_failure)
    : directory_(std::move(directory)), key_(std::move(key)), on_write_failure_(on_write_failure) {
  stem_ = fmt::format("{:016x}-{}-", hash_bytes(std::as_bytes(std::span(key_))), kind);
}

std::filesystem::path IndexCache::file(const std::string& suffix) const {
  return directory_ / (stem_ + suffix);
}

std::string IndexCache::describe(const std::vector<std::string>& names,
                                 const std::vector<IndexArray>& arrays) const {
  std::string text = key_;
  for (size_t i = 0; i < names.size(); ++i) {
    text += fmt::format("{}.npy: {} [{}] checksum {:016x}\n", names[i], npy_type_name(arrays[i].type()),
                        fmt::join(arrays[i].shape(), ", "), hash_bytes(arrays[i].bytes()));
  }
  return text;
}

std::vector<IndexArray> IndexCache::load(const std::vector<std::string>& names) const {
  const std::filesystem::path description = file("description.txt");
  if (!std::filesystem::exists(description)) return {};
  try {
    std::vector<IndexArray> arrays;
    for (const std::string& name : names) arrays.emplace_back(read_npy(file(name + ".npy")));
    if (read_text_file(description) == describe(names, arrays)) return arrays;
    log_warn("{}: the cached index does not fit its description; it is built again", description.string());
  } catch (const Error& error) {
    log_warn("{}; the index is built again", error.what());
  }
  return {};
}

void IndexCache::store(const std::vector<std::string>& names, const std::vector<IndexArray>& arrays) const {
  try {
    make_directories(directory_);
    for (size_t i = 0; i < names.size(); ++i) {
      write_npy(file(names[i] + ".npy"), arrays[i].type(), arrays[i].shape(), arrays[i].bytes());
    }
    write_text_file(file("description.txt"), describe(names, arrays));
  } catch (const Error& error) {
    if (on_write_failure_ == OnWriteFailure::kThrow) throw;
    log_warn("the index is not cached: {}", error.what());
  }
}

std::vector<IndexArray> IndexCache::get(const std::vector<std::string>& names,
                                        const std::function<std::vector<IndexArray>()>& build) const {
  std::vector<IndexArray> arrays = load(names);
  if (arrays.empty()) {
    arrays = build();
    MG_ASSERT(arrays.size() == names.size());
    store(names, arrays);
  }
  return arrays;
}

}  // namespace megalith
