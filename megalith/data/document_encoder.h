#pragma once
// defines: EncodedDocuments, EncodedUnit, DocumentEncoder

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "megalith/data/text_inputs.h"

namespace megalith {

class Encoder;
class Tokenizer;

/// Documents of one unit for one key, end to end.
struct EncodedDocuments {
  std::vector<int32_t> tokens;
  std::vector<int32_t> sequence_lengths;
  std::vector<int32_t> sequences_of_document;  ///< one entry a document; 0 for an empty one
};

struct EncodedUnit {
  std::vector<EncodedDocuments> of_key;
  std::vector<std::string> bad;  ///< messages of what was skipped
  int64_t bytes = 0;
};

/// Text to tokens. Text files are taken as the bytes they are. Of a JSON line each key gives a document: a
/// string is one sequence, a list of strings one sequence each. Empty sequences are left out; the
/// end-of-document token goes to the last sequence of a document that has one. Safe to use from several
/// threads.
class DocumentEncoder {
 public:
  enum class OnBadInput { kThrow, kSkip };
  struct Options {
    std::vector<std::string> json_keys{"text"};
    bool append_eod = false;
    OnBadInput on_bad_input = OnBadInput::kThrow;
  };
  /// Throws UsageError when end-of-document tokens are wanted and the tokenizer has none.
  DocumentEncoder(const Tokenizer& tokenizer, Options options);
  DocumentEncoder(DocumentEncoder&& other) noexcept;
  ~DocumentEncoder();

  /// A malformed line or a file that cannot be read is an Error that names file and line, or is skipped.
  EncodedUnit encode(const TextUnit& unit);

 private:
  void encode_line(std::string_view line, EncodedUnit& out);
  void add_sequence(std::string_view text, EncodedDocuments& out);
  void end_document(EncodedDocuments& out, size_t first_sequence) const;

  std::unique_ptr<Encoder> encoder_;
  int32_t eod_;
  Options options_;
};

}  // namespace megalith
