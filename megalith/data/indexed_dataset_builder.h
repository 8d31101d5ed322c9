#pragma once
// defines: IndexedDatasetBuilder, merge_indexed_datasets

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "megalith/base/files.h"
#include "megalith/data/token_type.h"

namespace megalith {

class IndexedDataset;

/// Writes a Megatron `.bin/.idx` pair. Nothing is visible under its names until finish(), which removes an
/// older index first and publishes the .bin and then the .idx: an index that exists always fits its tokens.
class IndexedDatasetBuilder {
 public:
  IndexedDatasetBuilder(std::string prefix, TokenType type);

  /// One sequence of the current document; throws Error when an id does not fit the token type.
  void add_sequence(std::span<const int32_t> tokens);
  /// Ends the document: what was added since the last call belongs to it.
  void end_document();
  /// A document of one sequence.
  void add_document(std::span<const int32_t> tokens) {
    add_sequence(tokens);
    end_document();
  }
  /// Appends all sequences and documents of another data set of the same token type.
  void append(const IndexedDataset& other);
  void finish();

  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_sequences() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t num_documents() const { return static_cast<int64_t>(documents_.size()) - 1; }

 private:
  template <class Stored>
  void write_tokens(std::span<const int32_t> tokens);

  std::string prefix_;
  TokenType type_;
  AtomicFile tokens_;
  AtomicFile index_;
  int64_t num_tokens_ = 0;
  std::vector<int32_t> lengths_;
  std::vector<int64_t> documents_{0};
  std::vector<std::byte> buffer_;
};

/// Concatenates the data sets of `inputs`, in order, into `output`. All must hold the same token type.
void merge_indexed_datasets(std::span<const std::string> inputs, const std::string& output);

}  // namespace megalith
