#pragma once
// defines: IndexCache, hash_bytes

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "megalith/data/index_array.h"

namespace megalith {

/// 64 bits that change with any byte; not for adversaries.
uint64_t hash_bytes(std::span<const std::byte> bytes);

/// Arrays kept on the disk under a description of what they were made from:
/// `HASH-CLASS-SPLIT-description.txt` and one `HASH-CLASS-SPLIT-NAME.npy` an array, as Megatron lays them
/// out. The description is published last and holds a checksum of each array, so that a torn or damaged cache
/// is noticed, reported and made again.
class IndexCache {
 public:
  enum class OnWriteFailure { kThrow, kWarn };

  /// `kind` is CLASS-SPLIT; `key` says, line by line, what the arrays depend on.
  IndexCache(std::filesystem::path directory, std::string kind, std::string key,
             OnWriteFailure on_write_failure);

  /// The arrays `names` from the disk if they are there and sound, else those that `build` makes, stored for
  /// the next time.
  std::vector<IndexArray> get(const std::vector<std::string>& names,
                              const std::function<std::vector<IndexArray>()>& build) const;

 private:
  std::filesystem::path file(const std::string& suffix) const;
  std::string describe(const std::vector<std::string>& names, const std::vector<IndexArray>& arrays) const;
  std::vector<IndexArray> load(const std::vector<std::string>& names) const;
  void store(const std::vector<std::string>& names, const std::vector<IndexArray>& arrays) const;

  std::filesystem::path directory_;
  std::string stem_;
  std::string key_;
  OnWriteFailure on_write_failure_;
};

}  // namespace megalith
