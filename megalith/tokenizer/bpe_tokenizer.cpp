#include "megalith/tokenizer/bpe_tokenizer.h"

#include <algorithm>
#include <utility>

#include "megalith/base/error.h"
#include "megalith/tokenizer/piece_cache.h"

namespace megalith {
namespace {

/// FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/
class Fnv1a {
 public:
  void absorb(std::string_view bytes) {
    absorb_number(bytes.size());
    for (const char byte : bytes) absorb_byte(static_cast<uint8_t>(byte));
  }
  void absorb_number(uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) absorb_byte(static_cast<uint8_t>(value >> shift));
  }
  uint64_t value() const { return hash_; }

 private:
  void absorb_byte(uint8_t byte) { hash_ = (hash_ ^ byte) * 0x100000001B3ull; }
  uint64_t hash_ = 0xCBF29CE484222325ull;
};

/// Everything that decides what an id means; the order of the added tokens in the file does not.
std::string identity_of(const BpeModel& model) {
  Fnv1a hash;
  hash.absorb(split_pattern_regex(model.pattern));
  hash.absorb_number(model.ignore_merges ? 1 : 0);
  hash.absorb_number(model.tokens.size());
  for (const std::string& token : model.tokens) hash.absorb(token);
  for (const BpeMerge& merge : model.merges) {
    hash.absorb_number(static_cast<uint64_t>(merge.left));
    hash.absorb_number(static_cast<uint64_t>(merge.right));
    hash.absorb_number(static_cast<uint64_t>(merge.result));
  }
  std::vector<std::pair<int32_t, bool>> added;
  for (const AddedToken& token : model.added_tokens) added.emplace_back(token.id, token.is_special);
  std::sort(added.begin(), added.end());
  for (const auto& [id, is_special] : added) hash.absorb_number(static_cast<uint64_t>(id) << 1 | is_special);
  return fmt::format("bpe-{:016x}", hash.value());
}

constexpr std::string_view kUsualEods[] = {
    "<|endoftext|>", "<|end_of_text|>", "<|end▁of▁sentence|>", "</s>", "<eos>",
    "<eod>",         "[EOD]",           "<|eot_id|>",
};

}  // namespace

/// One thread's way through a BpeTokenizer.
class BpeEncoder final : public Encoder {
 public:
  explicit BpeEncoder(const BpeTokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  void encode(std::string_view text, std::vector<int32_t>& ids) override {
    encode_around(text, tokenizer_->plain_added_, ids);
  }

  /// Added tokens become their ids, what is between them is encoded.
  void encode_around(std::string_view text, const AddedTokenMatcher& added, std::vector<int32_t>& ids) {
    if (added.empty()) return encode_plain(text, ids);
    for (size_t begin = 0; begin < text.size();) {
      const auto match = added.find(text, begin);
      encode_plain(text.substr(begin, match.begin - begin), ids);
      if (match.begin < text.size()) ids.push_back(match.id);
      begin = match.end;
    }
  }

 private:
  void encode_plain(std::string_view text, std::vector<int32_t>& ids) {
    const SplitPattern pattern = tokenizer_->model_.pattern;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = next_piece(pattern, text, begin);
      const std::string_view piece = text.substr(begin, end - begin);
      if (!cache_.find(piece, ids)) encode_new_piece(piece, ids);
      begin = end;
    }
  }

  void encode_new_piece(std::string_view piece, std::vector<int32_t>& ids) {
    piece_ids_.clear();
    const auto whole = tokenizer_->whole_.find(piece);
    if (whole != tokenizer_->whole_.end()) {
      piece_ids_.push_back(whole->second);
    } else {
      for (const char byte : piece) piece_ids_.push_back(tokenizer_->byte_ids_[static_cast<uint8_t>(byte)]);
      tokenizer_->merger_.merge(piece_ids_, scratch_);
    }
    cache_.insert(piece, piece_ids_);
    ids.insert(ids.end(), piece_ids_.begin(), piece_ids_.end());
  }

  const BpeTokenizer* tokenizer_;
  PieceCache cache_;
  BpeMerger::Scratch scratch_;
  std::vector<int32_t> piece_ids_;
};

BpeTokenizer::BpeTokenizer(BpeModel model, std::string_view eod)
    : model_(std::move(model)), merger_(model_.merges), identity_(identity_of(model_)) {
  std::vector<bool> is_added(model_.tokens.size());
  for (const AddedToken& token : model_.added_tokens) {
    is_added.at(static_cast<size_t>(token.id)) = true;
    all_added_.add(token);
    if (!token.is_special) plain_added_.add(token);
  }
  byte_ids_.fill(-1);
  for (size_t id = 0; id < model_.tokens.size(); ++id) {
    const std::string& token = model_.tokens[id];
    if (is_added[id] || token.empty()) continue;
    if (token.size() == 1) byte_ids_[static_cast<uint8_t>(token[0])] = static_cast<int32_t>(id);
    if (model_.ignore_merges) whole_.emplace(token, static_cast<int32_t>(id));
  }
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte)
    MG_CHECK(byte_ids_[byte] >= 0,
             "the vocabulary has no token for the byte 0x{:02X}; a byte-level tokenizer has all 256", byte);
  eod_ = find_eod(eod);
}

int32_t BpeTokenizer::find_eod(std::string_view wanted) const {
  if (!wanted.empty()) {
    const std::optional<int32_t> id = added_token_id(wanted);
    MG_CHECK(id.has_value(), "the end-of-document token '{}' is not among the added tokens", wanted);
    return *id;
  }
  for (const std::string_view name : kUsualEods)
    if (const std::optional<int32_t> id = added_token_id(name)) return *id;
  int32_t only = -1;
  for (const AddedToken& token : model_.added_tokens) {
    if (!token.is_special) continue;
    if (only >= 0) return -1;
    only = token.id;
  }
  return only;
}

std::optional<int32_t> BpeTokenizer::added_token_id(std::string_view content) const {
  for (const AddedToken& token : model_.added_tokens)
    if (token.content == content) return token.id;
  return std::nullopt;
}

std::vector<int32_t> BpeTokenizer::encode(std::string_view text) const {
  return encode(text, SpecialTokens::kAsText);
}

std::vector<int32_t> BpeTokenizer::encode(std::string_view text, SpecialTokens special_tokens) const {
  std::vector<int32_t> ids;
  BpeEncoder(*this).encode_around(text, special_tokens == SpecialTokens::kParse ? all_added_ : plain_added_,
                                  ids);
  return ids;
}

std::unique_ptr<Encoder> BpeTokenizer::make_encoder() const {
  return std::make_unique<BpeEncoder>(*this);
}

std::string BpeTokenizer::decode(std::span<const int32_t> tokens) const {
  std::string bytes;
  for (const int32_t id : tokens) {
    MG_CHECK(id >= 0 && id < vocab_size(), "token id {} is not in the vocabulary of {} tokens", id,
             vocab_size());
    const std::string& token = model_.tokens[static_cast<size_t>(id)];
    MG_CHECK(!token.empty(), "token id {} is unused in this vocabulary", id);
    bytes += token;
  }
  return bytes;
}

}  // namespace megalith
