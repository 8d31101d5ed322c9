#include "megalith/data/indexed_dataset.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "megalith/base/error.h"
#include "megalith/base/math.h"
#include "megalith/data/indexed_format.h"

namespace megalith {
namespace {

std::string without_extension(std::string prefix) {
  if (prefix.ends_with(".bin") || prefix.ends_with(".idx")) prefix.resize(prefix.size() - 4);
  return prefix;
}

template <class Stored>
void widen(const std::byte* from, std::span<int32_t> out, const std::string& file) {
  for (size_t i = 0; i < out.size(); ++i) {
    Stored value;
    std::memcpy(&value, from + i * sizeof(Stored), sizeof(Stored));
    if constexpr (sizeof(Stored) > 4) {
      MG_CHECK(std::in_range<int32_t>(value), "{}: the token id {} does not fit 32 bits", file, value);
    }
    out[i] = static_cast<int32_t>(value);
  }
}

}  // namespace

std::filesystem::path token_file_path(const std::string& prefix) {
  return prefix + ".bin";
}

std::filesystem::path index_file_path(const std::string& prefix) {
  return prefix + ".idx";
}

IndexedDataset::IndexedDataset(std::string prefix)
    : prefix_(without_extension(std::move(prefix))),
      index_(index_file_path(prefix_)),
      tokens_(token_file_path(prefix_)) {
  parse_index();
  check_sequences();
  check_documents();
}

void IndexedDataset::parse_index() {
  const std::string file = index_.path().string();
  const std::span<const std::byte> bytes = index_.bytes();
  MG_CHECK(!bytes.empty(), "{}: the file is empty, not a Megatron index", file);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  MG_CHECK(text.starts_with(kIndexMagic.substr(0, text.size())),
           "{}: not a Megatron index (it does not begin with MMIDIDX)", file);
  MG_CHECK(bytes.size() >= kIndexHeaderBytes, "{}: the header needs {} bytes, the file has {}", file,
           kIndexHeaderBytes, bytes.size());
  const auto version = load<uint64_t>(bytes.data() + kIndexVersionOffset, 0);
  MG_CHECK(version == kIndexVersion, "{}: index version {} is not known (only {} is)", file, version,
           kIndexVersion);
  const auto code = load<uint8_t>(bytes.data() + kIndexTypeOffset, 0);
  const auto type = token_type_from_code(code);
  MG_CHECK(type.has_value(), "{}: token type code {} is not one of 1 to 5 and 8 (integers)", file, code);
  type_ = *type;

  const auto sequences = load<uint64_t>(bytes.data() + kIndexCountsOffset, 0);
  const auto documents = load<uint64_t>(bytes.data() + kIndexCountsOffset, 1);
  // Each sequence takes at least 12 bytes of the file, each document 8: larger counts cannot be meant.
  MG_CHECK(sequences <= bytes.size() / 12 && documents <= bytes.size() / 8,
           "{}: the file is too short ({} bytes) for {} sequences and {} document boundaries", file,
           bytes.size(), sequences, documents);
  num_sequences_ = static_cast<int64_t>(sequences);
  num_document_indices_ = static_cast<int64_t>(documents);
  const size_t needed = kIndexHeaderBytes + sequences * 12 + documents * 8;
  MG_CHECK(bytes.size() == needed || bytes.size() == needed + sequences,
           "{}: {} sequences and {} document boundaries need {} bytes ({} with modes), the file has {}", file,
           sequences, documents, needed, needed + sequences, bytes.size());
  lengths_ = bytes.data() + kIndexHeaderBytes;
  pointers_ = lengths_ + sequences * sizeof(int32_t);
  documents_ = pointers_ + sequences * sizeof(int64_t);
  for (size_t i = needed; i < bytes.size(); ++i) {
    MG_CHECK(bytes[i] == std::byte{0}, "{}: sequence {} is not text (mode {})", file, i - needed,
             static_cast<int>(bytes[i]));
  }
}

void IndexedDataset::check_sequences() {
  const std::string file = index_.path().string();
  const int64_t item_bytes = token_type_bytes(type_);
  for (int64_t i = 0; i < num_sequences_; ++i) {
    const int32_t tokens = length(i);
    const auto pointer = load<int64_t>(pointers_, i);
    MG_CHECK(tokens >= 0, "{}: the length of sequence {} is negative ({})", file, i, tokens);
    MG_CHECK(pointer == num_tokens_ * item_bytes,
             "{}: sequence {} points to byte {}, the lengths before it add up to byte {}", file, i, pointer,
             num_tokens_ * item_bytes);
    num_tokens_ += tokens;
  }
  MG_CHECK(tokens_.size() == num_tokens_ * item_bytes,
           "{}: the file has {} bytes, the index {} asks for {} ({} {} tokens)", tokens_.path().string(),
           tokens_.size(), file, num_tokens_ * item_bytes, num_tokens_, token_type_name(type_));
}

void IndexedDataset::check_documents() {
  const std::string file = index_.path().string();
  MG_CHECK(num_document_indices_ >= 1, "{}: there is no document boundary (at least one is needed)", file);
  int64_t last = document_begin(0);
  MG_CHECK(last == 0, "{}: the first document starts at sequence {}, not 0", file, last);
  for (int64_t i = 1; i < num_document_indices_; ++i) {
    const int64_t next = document_begin(i);
    MG_CHECK(next >= last, "{}: document {} starts at sequence {}, before document {} at {}", file, i, next,
             i - 1, last);
    last = next;
  }
  MG_CHECK(last == num_sequences_, "{}: the last document ends at sequence {}, the file has {} sequences",
           file, last, num_sequences_);
}

int64_t IndexedDataset::document_of(int64_t sequence) const {
  int64_t low = 0;  // the first boundary that lies after the sequence
  int64_t high = num_document_indices_;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (document_begin(middle) <= sequence) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low - 1;
}

void IndexedDataset::read(int64_t sequence, int64_t offset, std::span<int32_t> out) const {
  MG_CHECK(sequence >= 0 && sequence < num_sequences_, "{}: there is no sequence {} ({} sequences)", prefix_,
           sequence, num_sequences_);
  const int64_t wanted = static_cast<int64_t>(out.size());
  MG_CHECK(offset >= 0 && offset + wanted <= length(sequence),
           "{}: sequence {} has {} tokens, not {} from {} on", prefix_, sequence, length(sequence), wanted,
           offset);
  const std::byte* from =
      tokens_.bytes().data() + load<int64_t>(pointers_, sequence) + offset * token_type_bytes(type_);
  switch (type_) {
    case TokenType::kU8:
      return widen<uint8_t>(from, out, prefix_);
    case TokenType::kI8:
      return widen<int8_t>(from, out, prefix_);
    case TokenType::kI16:
      return widen<int16_t>(from, out, prefix_);
    case TokenType::kU16:
      return widen<uint16_t>(from, out, prefix_);
    case TokenType::kI32:
      return widen<int32_t>(from, out, prefix_);
    case TokenType::kI64:
      return widen<int64_t>(from, out, prefix_);
  }
}

}  // namespace megalith
