#pragma once
// defines: parse_tokenizer_json, tokenizer_json, read_tokenizer_json

#include <filesystem>
#include <string>
#include <string_view>

#include "megalith/tokenizer/bpe_model.h"

namespace megalith {

/// Reads the text of a Hugging Face tokenizer.json. `source` names it in errors. What it can say and this
/// reader cannot do (another model type, a normalizer, an unknown regular expression, ...) throws Error
/// naming the key, the value and what is allowed. Post-processors are not read: encoding adds nothing at the
/// ends.
BpeModel parse_tokenizer_json(std::string_view text, const std::string& source);

/// parse_tokenizer_json of a file.
BpeModel read_tokenizer_json(const std::filesystem::path& path);

/// The tokenizer.json of a model, as Hugging Face's `tokenizers` loads it to the same ids.
std::string tokenizer_json(const BpeModel& model);

}  // namespace megalith
