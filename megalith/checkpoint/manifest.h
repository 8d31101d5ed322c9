#pragma once
// defines: StoredFile, Manifest, to_json, read_manifest, verify_file

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace megalith {

struct StoredFile {
  int64_t bytes = 0;
  uint64_t checksum = 0;  ///< XXH64
  friend bool operator==(const StoredFile&, const StoredFile&) = default;
};

/// What a checkpoint consists of. The JSON text carries a checksum of its own.
struct Manifest {
  int64_t iteration = 0;
  std::string config_yaml;                   ///< the effective recipe
  std::map<std::string, std::string> state;  ///< of the training loop; UTF-8
  std::map<std::string, StoredFile> files;   ///< by name in the checkpoint's directory
  friend bool operator==(const Manifest&, const Manifest&) = default;
};

std::string to_json(const Manifest& manifest);

/// Throws Error naming the file and what is wrong: absent, cut off, altered, of an unknown version.
Manifest read_manifest(const std::filesystem::path& path);

/// Holds a file against its entry: there, of that size, with that checksum. Throws Error naming it.
void verify_file(const std::filesystem::path& path, const StoredFile& expected);

}  // namespace megalith
