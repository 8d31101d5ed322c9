#pragma once
// defines: IndexedDataset, token_file_path, index_file_path

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>

#include "megalith/data/token_source.h"
#include "megalith/data/token_type.h"
#include "megalith/io/mmap_file.h"

namespace megalith {

/// `PREFIX.bin` and `PREFIX.idx` (the prefix itself may contain dots).
std::filesystem::path token_file_path(const std::string& prefix);
std::filesystem::path index_file_path(const std::string& prefix);

/// Reader of Megatron's indexed data set, both files mapped.
///
/// .idx, little-endian, no padding: "MMIDIDX\0\0", u64 version = 1, u8 token type code, u64 Nseq, u64 Ndoc +
/// 1, i32[Nseq] lengths in tokens, i64[Nseq] byte pointers into .bin, i64[Ndoc + 1] first sequence of each
/// document with Nseq at the end, optionally i8[Nseq] modes (all 0: text). .bin: the tokens, nothing else.
///
/// Opening reads the whole .idx and throws Error, naming the file and the rule, unless both files agree.
class IndexedDataset final : public TokenSource {
 public:
  /// `prefix` without extension; a name that ends in .bin or .idx is taken for its prefix.
  explicit IndexedDataset(std::string prefix);

  TokenType token_type() const { return type_; }
  int64_t num_sequences() const override { return num_sequences_; }
  int64_t num_documents() const { return num_document_indices_ - 1; }
  int64_t num_tokens() const { return num_tokens_; }
  int32_t length(int64_t sequence) const override { return load<int32_t>(lengths_, sequence); }
  /// The first sequence of a document; document == num_documents() gives num_sequences().
  int64_t document_begin(int64_t document) const { return load<int64_t>(documents_, document); }
  int64_t document_of(int64_t sequence) const override;
  void read(int64_t sequence, int64_t offset, std::span<int32_t> out) const override;
  const std::string& name() const override { return prefix_; }

 private:
  /// The arrays of the .idx file are not aligned.
  template <class T>
  static T load(const std::byte* array, int64_t index) {
    T value;
    std::memcpy(&value, array + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
    return value;
  }
  void parse_index();
  void check_sequences();
  void check_documents();

  std::string prefix_;
  MmapFile index_;
  MmapFile tokens_;
  TokenType type_ = TokenType::kI32;
  int64_t num_sequences_ = 0;
  int64_t num_document_indices_ = 0;
  int64_t num_tokens_ = 0;
  const std::byte* lengths_ = nullptr;    // i32[num_sequences_]
  const std::byte* pointers_ = nullptr;   // i64[num_sequences_]
  const std::byte* documents_ = nullptr;  // i64[num_document_indices_]
};

}  // namespace megalith
