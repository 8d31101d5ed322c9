#pragma once
// defines: Encoder, Tokenizer, load_tokenizer, StreamDecoder

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace megalith {

/// Encodes many texts on one thread faster than one by one: it remembers the pieces it has seen. The
/// tokenizer must outlive it.
class Encoder {
 public:
  virtual ~Encoder() = default;

  /// Appends the ids of Tokenizer::encode(text) to `ids`.
  virtual void encode(std::string_view text, std::vector<int32_t>& ids) = 0;
};

/// Text to token ids and back. Implementations are immutable after loading: one object serves any number of
/// threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Token ids of the text; special tokens in the text are treated as plain text.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;

  /// For long jobs: one per thread. The default calls encode() for each text.
  virtual std::unique_ptr<Encoder> make_encoder() const;

  /// The bytes of the tokens. decode(encode(x)) == x for every byte string x. Ids outside [0, vocab_size)
  /// throw Error.
  virtual std::string decode(std::span<const int32_t> tokens) const = 0;

  /// Number of ids, special tokens included.
  virtual int64_t vocab_size() const = 0;

  /// End of document, -1 when the tokenizer has none.
  virtual int32_t eod() const = 0;

  /// A string that identifies the tokenizer in cache keys: equal exactly when the ids mean the same.
  virtual std::string identity() const = 0;
};

/// `path` is a Hugging Face tokenizer.json, or a directory that holds one.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path);

/// Turns a stream of tokens into a stream of text that is never cut inside a UTF-8 character. Bytes that
/// cannot be the beginning of a character are passed on as they are.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  /// The text that became complete with this token; often empty.
  std::string push(int32_t token);
  /// What is left at the end.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  std::string pending_;
};

}  // namespace megalith
