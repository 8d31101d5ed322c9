#include "megalith/data/indexed_dataset_builder.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include <unistd.h>

#include "megalith/base/error.h"
#include "megalith/base/math.h"
#include "megalith/data/indexed_dataset.h"
#include "megalith/data/indexed_format.h"

namespace megalith {

IndexedDatasetBuilder::IndexedDatasetBuilder(std::string prefix, TokenType type)
    : prefix_(std::move(prefix)),
      type_(type),
      tokens_(token_file_path(prefix_)),
      index_(index_file_path(prefix_)) {}

template <class Stored>
void IndexedDatasetBuilder::write_tokens(std::span<const int32_t> tokens) {
  buffer_.resize(tokens.size() * sizeof(Stored));
  for (size_t i = 0; i < tokens.size(); ++i) {
    MG_CHECK(std::in_range<Stored>(tokens[i]), "{}: the token id {} does not fit the file's {} (document {})",
             tokens_.path().string(), tokens[i], token_type_name(type_), num_documents());
    const auto stored = static_cast<Stored>(tokens[i]);
    std::memcpy(buffer_.data() + i * sizeof(Stored), &stored, sizeof(Stored));
  }
  tokens_.write(buffer_.data(), buffer_.size());
}

void IndexedDatasetBuilder::add_sequence(std::span<const int32_t> tokens) {
  MG_CHECK(tokens.size() <= static_cast<size_t>(std::numeric_limits<int32_t>::max()),
           "{}: a sequence of {} tokens is too long (at most {})", tokens_.path().string(), tokens.size(),
           std::numeric_limits<int32_t>::max());
  switch (type_) {
    case TokenType::kU8:
      write_tokens<uint8_t>(tokens);
      break;
    case TokenType::kI8:
      write_tokens<int8_t>(tokens);
      break;
    case TokenType::kI16:
      write_tokens<int16_t>(tokens);
      break;
    case TokenType::kU16:
      write_tokens<uint16_t>(tokens);
      break;
    case TokenType::kI32:
      write_tokens<int32_t>(tokens);
      break;
    case TokenType::kI64:
      write_tokens<int64_t>(tokens);
      break;
  }
  lengths_.push_back(static_cast<int32_t>(tokens.size()));
  num_tokens_ += static_cast<int64_t>(tokens.size());
}

void IndexedDatasetBuilder::end_document() {
  documents_.push_back(num_sequences());
}

void IndexedDatasetBuilder::append(const IndexedDataset& other) {
  MG_CHECK(other.token_type() == type_, "{}: holds {} tokens, {} holds {}: only equal types can be merged",
           other.name(), token_type_name(other.token_type()), prefix_, token_type_name(type_));
  const int64_t first_sequence = num_sequences();
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < other.num_sequences(); ++i) {
    tokens.resize(static_cast<size_t>(other.length(i)));
    other.read(i, 0, tokens);
    add_sequence(tokens);
  }
  for (int64_t i = 1; i <= other.num_documents(); ++i) {
    documents_.push_back(first_sequence + other.document_begin(i));
  }
}

void IndexedDatasetBuilder::finish() {
  index_.write(kIndexMagic);
  index_.write_pod(kIndexVersion);
  index_.write_pod(static_cast<uint8_t>(type_));
  index_.write_pod(static_cast<uint64_t>(lengths_.size()));
  index_.write_pod(static_cast<uint64_t>(documents_.size()));
  index_.write_span(std::span<const int32_t>(lengths_));
  int64_t pointer = 0;
  for (const int32_t length : lengths_) {
    index_.write_pod(pointer);
    pointer += length * token_type_bytes(type_);
  }
  index_.write_span(std::span<const int64_t>(documents_));
  if (::unlink(index_.path().c_str()) != 0 && errno != ENOENT) {
    fail("{}: the old index cannot be removed: {}", index_.path().string(), system_message(errno));
  }
  tokens_.commit();
  index_.commit();
}

void merge_indexed_datasets(std::span<const std::string> inputs, const std::string& output) {
  if (inputs.empty()) throw UsageError("merge: no input data set was given");
  const TokenType type = IndexedDataset(inputs.front()).token_type();
  IndexedDatasetBuilder builder(output, type);
  for (const std::string& input : inputs) builder.append(IndexedDataset(input));
  builder.finish();
}

}  // namespace megalith
