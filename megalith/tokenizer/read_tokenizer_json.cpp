#include <optional>
#include <unordered_map>
#include <utility>

#include <nlohmann/json.hpp>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/tokenizer/byte_alphabet.h"
#include "megalith/tokenizer/tokenizer_json.h"

namespace megalith {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMostTokens = int64_t{1} << 24;

/// A value as an error message shows it.
std::string shown(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 200 ? text : text.substr(0, 200) + "...";
}

/// Reads the parts of one document; its methods name the document in their errors.
class Reader {
 public:
  explicit Reader(const std::string& source) : source_(source) {}

  BpeModel read(const Json& root) {
    check(root.is_object(), "the file is not a JSON object");
    read_normalizer(root);
    read_pre_tokenizer(member(root, "pre_tokenizer"));
    read_decoder(root);
    read_model(member(root, "model"));
    read_added_tokens(root);
    return std::move(model_);
  }

 private:
  template <class... Args>
  void check(bool condition, fmt::format_string<Args...> format, Args&&... args) const {
    if (!condition) throw Error(source_ + ": " + fmt::format(format, std::forward<Args>(args)...));
  }

  const Json& member(const Json& object, const char* key) const {
    check(object.is_object() && object.contains(key), "the key '{}' is missing", key);
    return object.at(key);
  }
  static bool has_value(const Json& object, const char* key) {
    return object.contains(key) && !object.at(key).is_null();
  }
  std::string type_of(const Json& object, const char* what) const {
    check(object.is_object() && object.contains("type") && object.at("type").is_string(), "{} has no 'type'",
          what);
    return object.at("type").get<std::string>();
  }
  bool flag(const Json& object, const char* key, bool absent) const {
    if (!has_value(object, key)) return absent;
    check(object.at(key).is_boolean(), "'{}' is {}, not true or false", key, shown(object.at(key)));
    return object.at(key).get<bool>();
  }
  int32_t token_id(const Json& value, std::string_view token) const {
    check(value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() < kMostTokens,
          "the id of the token '{}' is {}, not an integer in [0, {})", token, shown(value), kMostTokens);
    return value.get<int32_t>();
  }

  void read_normalizer(const Json& root) const {
    if (!has_value(root, "normalizer")) return;
    const Json& normalizer = root.at("normalizer");
    const bool is_empty_sequence =
        type_of(normalizer, "'normalizer'") == "Sequence" && member(normalizer, "normalizers").empty();
    check(is_empty_sequence, "'normalizer' is {}; only null is supported", shown(normalizer));
  }

  void read_byte_level(const Json& byte_level) const {
    check(!flag(byte_level, "add_prefix_space", true),
          "'add_prefix_space' of the ByteLevel pre-tokenizer is true; only false keeps the text as it is");
  }

  void read_pre_tokenizer(const Json& pre_tokenizer) {
    const std::string type = type_of(pre_tokenizer, "'pre_tokenizer'");
    if (type == "ByteLevel") {
      read_byte_level(pre_tokenizer);
      check(flag(pre_tokenizer, "use_regex", true),
            "'use_regex' of the only pre-tokenizer is false; a Split with a regular expression must come "
            "before it");
      model_.pattern = SplitPattern::kGpt2;
      return;
    }
    const bool is_split_sequence =
        type == "Sequence" && member(pre_tokenizer, "pretokenizers").is_array() &&
        pre_tokenizer.at("pretokenizers").size() == 2 &&
        type_of(pre_tokenizer.at("pretokenizers")[0], "the first pre-tokenizer") == "Split" &&
        type_of(pre_tokenizer.at("pretokenizers")[1], "the second pre-tokenizer") == "ByteLevel";
    check(is_split_sequence, "'pre_tokenizer' is {}; supported are ByteLevel and Sequence[Split, ByteLevel]",
          shown(pre_tokenizer));
    read_split(pre_tokenizer.at("pretokenizers")[0]);
    const Json& byte_level = pre_tokenizer.at("pretokenizers")[1];
    read_byte_level(byte_level);
    check(!flag(byte_level, "use_regex", true),
          "'use_regex' of the ByteLevel after a Split is true; only false is supported");
  }

  void read_split(const Json& split) {
    const Json& pattern = member(split, "pattern");
    check(pattern.is_object() && pattern.contains("Regex") && pattern.at("Regex").is_string(),
          "'pattern' of Split is {}; only a Regex is supported", shown(pattern));
    const auto regex = pattern.at("Regex").get<std::string>();
    const std::optional<SplitPattern> known = find_split_pattern(regex);
    check(known.has_value(),
          "the regular expression '{}' of Split is not known; known are GPT-2, cl100k, Llama 3 and Qwen 2",
          regex);
    // A known pattern matches every character, so that keeping the matches alone is the same.
    const Json& behavior = member(split, "behavior");
    const bool is_inverted = flag(split, "invert", false);
    check((behavior == "Isolated" && !is_inverted) || (behavior == "Removed" && is_inverted),
          "'behavior' of Split is {}; supported are Isolated and inverted Removed", shown(behavior));
    model_.pattern = *known;
  }

  void read_decoder(const Json& root) const {
    if (!has_value(root, "decoder")) return;
    const std::string type = type_of(root.at("decoder"), "'decoder'");
    check(type == "ByteLevel", "'decoder' is {}; only ByteLevel is supported", type);
  }

  void read_model(const Json& model) {
    const std::string type = has_value(model, "type") ? type_of(model, "'model'") : "BPE";
    check(type == "BPE", "'model.type' is '{}'; only BPE is supported", type);
    check(!has_value(model, "dropout") || model.at("dropout") == 0.0,
          "'model.dropout' is {}; only null is supported", shown(model.value("dropout", Json())));
    check(!flag(model, "byte_fallback", false),
          "'model.byte_fallback' is true; only byte-level models are supported");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      check(!has_value(model, key) || model.at(key) == "", "'model.{}' is {}; only null is supported", key,
            shown(model.value(key, Json())));
    model_.ignore_merges = flag(model, "ignore_merges", false);
    read_vocab(member(model, "vocab"));
    read_merges(member(model, "merges"));
  }

  void put(const std::string& bytes, int32_t id, std::string_view token) {
    const auto index = static_cast<size_t>(id);
    if (index >= model_.tokens.size()) model_.tokens.resize(index + 1);
    check(model_.tokens[index].empty(), "the id {} belongs to two tokens, one of them '{}'", id, token);
    model_.tokens[index] = bytes;
  }

  void read_vocab(const Json& vocab) {
    check(vocab.is_object() && !vocab.empty(), "'model.vocab' is not an object with tokens");
    ids_.reserve(vocab.size());
    for (const auto& [token, value] : vocab.items()) {
      check(!token.empty(), "'model.vocab' has a token without characters");
      const int32_t id = token_id(value, token);
      // Tokens outside the alphabet, as some control tokens are, stand for their own UTF-8.
      put(alphabet_to_bytes(token).value_or(token), id, token);
      ids_.emplace(token, id);
    }
  }

  void read_merges(const Json& merges) {
    check(merges.is_array(), "'model.merges' is not an array");
    model_.merges.reserve(merges.size());
    for (size_t rank = 0; rank < merges.size(); ++rank) {
      const auto [left, right] = halves(merges[rank], rank);
      const auto find = [&](const std::string& token) {
        const auto found = ids_.find(token);
        check(found != ids_.end(), "merge {} needs the token '{}', which is not in 'model.vocab'", rank,
              token);
        return found->second;
      };
      model_.merges.push_back({find(left), find(right), find(left + right)});
    }
  }

  std::pair<std::string, std::string> halves(const Json& merge, size_t rank) const {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
      return {merge[0].get<std::string>(), merge[1].get<std::string>()};
    check(merge.is_string(), "merge {} is {}, neither \"a b\" nor [\"a\", \"b\"]", rank, shown(merge));
    const auto text = merge.get<std::string>();
    const size_t space = text.find(' ');
    check(space != std::string::npos && text.find(' ', space + 1) == std::string::npos,
          "merge {} is '{}'; two tokens with one space between them are expected", rank, text);
    return {text.substr(0, space), text.substr(space + 1)};
  }

  void read_added_tokens(const Json& root) {
    if (!has_value(root, "added_tokens")) return;
    check(root.at("added_tokens").is_array(), "'added_tokens' is not an array");
    for (const Json& entry : root.at("added_tokens")) {
      const Json& content = member(entry, "content");
      check(content.is_string() && !content.get_ref<const std::string&>().empty(),
            "an added token has the content {}", shown(content));
      AddedToken token;
      token.content = content.get<std::string>();
      token.id = token_id(member(entry, "id"), token.content);
      token.is_special = flag(entry, "special", false);
      for (const char* key : {"single_word", "lstrip", "rstrip"})
        check(token.is_special || !flag(entry, key, false),
              "'{}' of the added token '{}' is true; only false is supported", key, token.content);
      const auto in_vocab = ids_.find(token.content);
      check(in_vocab == ids_.end() || in_vocab->second == token.id,
            "the added token '{}' has the id {}, but {} in 'model.vocab'", token.content, token.id,
            in_vocab == ids_.end() ? -1 : in_vocab->second);
      if (in_vocab != ids_.end()) model_.tokens[static_cast<size_t>(token.id)].clear();
      put(token.content, token.id, token.content);
      ids_.emplace(token.content, token.id);
      model_.added_tokens.push_back(std::move(token));
    }
  }

  const std::string& source_;
  BpeModel model_;
  std::unordered_map<std::string, int32_t> ids_;  // by spelling
};

}  // namespace

BpeModel parse_tokenizer_json(std::string_view text, const std::string& source) {
  try {
    return Reader(source).read(Json::parse(text));
  } catch (const Json::exception& error) {
    fail("{}: not a tokenizer.json: {}", source, error.what());
  }
}

BpeModel read_tokenizer_json(const std::filesystem::path& path) {
  return parse_tokenizer_json(read_text_file(path), path.string());
}

}  // namespace megalith
