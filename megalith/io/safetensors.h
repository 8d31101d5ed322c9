#pragma once
// defines: TensorInfo, SafetensorsEntry, SafetensorsFile, SafetensorsWriter

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "megalith/base/files.h"
#include "megalith/core/dtype.h"
#include "megalith/core/shape.h"
#include "megalith/io/mmap_file.h"
#include "megalith/io/xxh64.h"

namespace megalith {

/// Format: https://github.com/huggingface/safetensors#format. A u64 header length, a JSON object that gives
/// every tensor's dtype, shape and place, then the bytes of the tensors, little-endian and row-major.

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  int64_t nbytes() const { return shape.numel() * static_cast<int64_t>(size_of(dtype)); }
};

struct SafetensorsEntry {
  TensorInfo info;
  std::span<const std::byte> bytes;  ///< in the mapped file; not necessarily aligned
};

/// A .safetensors file, mapped. The constructor holds the whole header against the format: known dtypes,
/// shapes that match the sizes, tensors that cover the data without overlap or hole, no name twice. What is
/// wrong throws Error naming the file and the tensor.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  /// In the order of the data.
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  /// nullptr when there is no such tensor.
  const SafetensorsEntry* find(const std::string& name) const;
  /// Throws Error naming the file, the tensor and the nearest name there is.
  const SafetensorsEntry& at(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// The whole file.
  std::span<const std::byte> bytes() const { return file_.bytes(); }

 private:
  MmapFile file_;
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, size_t> index_;
  std::map<std::string, std::string> metadata_;
};

/// Writes a .safetensors file in one pass: the tensors are announced first and their bytes follow in the same
/// order, in pieces of any size. The file appears with commit().
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::filesystem::path& path, std::span<const TensorInfo> tensors,
                    const std::map<std::string, std::string>& metadata = {});

  void add(std::span<const std::byte> bytes);
  /// Throws Error unless exactly the announced bytes were added.
  void commit();

  int64_t bytes_written() const { return file_.bytes_written(); }
  /// XXH64 of the whole file so far.
  uint64_t checksum() const { return checksum_.digest(); }

 private:
  void write(std::span<const std::byte> bytes);

  AtomicFile file_;
  Xxh64 checksum_;
  int64_t expected_bytes_ = 0;
};

}  // namespace megalith
