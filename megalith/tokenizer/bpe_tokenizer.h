#pragma once
// defines: BpeTokenizer, SpecialTokens

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "megalith/tokenizer/added_tokens.h"
#include "megalith/tokenizer/bpe_merger.h"
#include "megalith/tokenizer/bpe_model.h"
#include "megalith/tokenizer/tokenizer.h"

namespace megalith {

enum class SpecialTokens {
  kAsText,  ///< their spelling in the text is text
  kParse,   ///< their spelling becomes their id: for chat templates, never for what a user typed
};

/// Byte-level BPE: the text is cut into pieces (SplitPattern), the bytes of each piece are merged.
/// Encoding adds nothing at the ends; whoever wants a beginning of text puts its id there.
class BpeTokenizer final : public Tokenizer {
 public:
  /// `eod` is the content of the end-of-document token. When empty: the first of the usual names among the
  /// special tokens, or the only special token. Throws Error when a byte has no token or `eod` is not there.
  explicit BpeTokenizer(BpeModel model, std::string_view eod = {});

  std::vector<int32_t> encode(std::string_view text) const override;
  std::vector<int32_t> encode(std::string_view text, SpecialTokens special_tokens) const;
  std::unique_ptr<Encoder> make_encoder() const override;
  std::string decode(std::span<const int32_t> tokens) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(model_.tokens.size()); }
  int32_t eod() const override { return eod_; }
  std::string identity() const override { return identity_; }

  /// The id of an added token.
  std::optional<int32_t> added_token_id(std::string_view content) const;
  const BpeModel& model() const { return model_; }

 private:
  friend class BpeEncoder;
  struct TextHash : std::hash<std::string_view> {
    using is_transparent = void;
  };

  int32_t find_eod(std::string_view wanted) const;

  BpeModel model_;
  BpeMerger merger_;
  std::array<int32_t, 256> byte_ids_{};
  /// Whole tokens, for models that ignore merges; empty otherwise.
  std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>> whole_;
  AddedTokenMatcher plain_added_;
  AddedTokenMatcher all_added_;
  int32_t eod_ = -1;
  std::string identity_;
};

}  // namespace megalith
