#include "megalith/data/document_encoder.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/math.h"
#include "megalith/base/text.h"
#include "megalith/tokenizer/tokenizer.h"

namespace megalith {

DocumentEncoder::DocumentEncoder(const Tokenizer& tokenizer, Options options)
    : encoder_(tokenizer.make_encoder()), eod_(tokenizer.eod()), options_(std::move(options)) {
  if (options_.append_eod && eod_ < 0) {
    throw UsageError("append_eod: the tokenizer has no end-of-document token");
  }
  if (options_.json_keys.empty()) throw UsageError("json_keys is empty: at least one key is needed");
}

DocumentEncoder::DocumentEncoder(DocumentEncoder&& other) noexcept = default;
DocumentEncoder::~DocumentEncoder() = default;

namespace {

// "[json.exception.parse_error.101] parse error at line 1, column 9: syntax error while parsing value - what"
// is "column 9: what" of a line whose number is told beside it.
std::string json_problem(const nlohmann::json::exception& error) {
  const std::string_view message = error.what();
  const size_t column = message.find("column "), dash = message.find(" - ");
  if (column == std::string_view::npos || dash == std::string_view::npos) return std::string(message);
  const size_t colon = message.find(':', column);
  return fmt::format("{}: {}", message.substr(column, colon - column), message.substr(dash + 3));
}

// Compressed text would be trained on as noise.
void check_not_compressed(const std::filesystem::path& file, std::string_view text) {
  struct Magic {
    std::string_view bytes, name;
  };
  constexpr Magic kMagics[] = {{"\x1f\x8b\x08", "gzip"},
                               {"\x28\xb5\x2f\xfd", "zstd"},
                               {"\xfd"
                                "7zXZ",
                                "xz"},
                               {"PK\x03\x04", "zip"}};
  for (const auto& [bytes, name] : kMagics)
    MG_CHECK(!text.starts_with(bytes),
             "{}: the file is compressed ({}), not text: decompress it first, or leave it out (--extensions, "
             "--skip-bad)",
             file.string(), name);
}

}  // namespace

void DocumentEncoder::add_sequence(std::string_view text, EncodedDocuments& out) {
  const size_t before = out.tokens.size();
  encoder_->encode(text, out.tokens);
  if (out.tokens.size() == before) return;
  out.sequence_lengths.push_back(narrow<int32_t>(out.tokens.size() - before));
}

void DocumentEncoder::end_document(EncodedDocuments& out, size_t first_sequence) const {
  const size_t sequences = out.sequence_lengths.size() - first_sequence;
  if (sequences > 0 && options_.append_eod) {
    out.tokens.push_back(eod_);
    ++out.sequence_lengths.back();
  }
  out.sequences_of_document.push_back(static_cast<int32_t>(sequences));
}

void DocumentEncoder::encode_line(std::string_view line, EncodedUnit& out) {
  const auto object = nlohmann::json::parse(line);
  MG_CHECK(object.is_object(), "the line is not a JSON object");
  // All keys are looked at before any is added: a bad line leaves nothing behind.
  std::vector<std::vector<const std::string*>> texts;
  for (const std::string& key : options_.json_keys) {
    const auto found = object.find(key);
    MG_CHECK(found != object.end(), "there is no key \"{}\"", key);
    auto& sequences = texts.emplace_back();
    const auto add = [&](const nlohmann::json& value) {
      MG_CHECK(value.is_string(), "the value of \"{}\" is not a string or a list of strings", key);
      sequences.push_back(value.get_ptr<const std::string*>());
    };
    if (found->is_array()) {
      for (const auto& value : *found) add(value);
    } else {
      add(*found);
    }
  }
  for (size_t k = 0; k < texts.size(); ++k) {
    const size_t first_sequence = out.of_key[k].sequence_lengths.size();
    for (const std::string* text : texts[k]) add_sequence(*text, out.of_key[k]);
    end_document(out.of_key[k], first_sequence);
  }
}

EncodedUnit DocumentEncoder::encode(const TextUnit& unit) {
  EncodedUnit out{.of_key = std::vector<EncodedDocuments>(options_.json_keys.size()), .bytes = unit.bytes};
  const auto bad = [&](const std::string& message) {
    if (options_.on_bad_input == OnBadInput::kThrow) throw Error(message);
    out.bad.push_back(message);
  };
  for (const std::filesystem::path& file : unit.files) {
    try {
      const std::string text = read_text_file(file);
      check_not_compressed(file, text);
      const size_t first_sequence = out.of_key[0].sequence_lengths.size();
      add_sequence(text, out.of_key[0]);
      end_document(out.of_key[0], first_sequence);
    } catch (const Error& error) {
      bad(error.what());
    }
  }
  int64_t number = unit.first_line;
  for (std::string_view rest = unit.json_lines; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    const std::string_view line = trim(rest.substr(0, end));
    rest.remove_prefix(end + 1);
    if (line.empty()) continue;
    try {
      encode_line(line, out);
    } catch (const nlohmann::json::exception& error) {
      bad(fmt::format("{}:{}: malformed JSON: {}", unit.json_file.string(), number, json_problem(error)));
    } catch (const Error& error) {
      bad(fmt::format("{}:{}: {}", unit.json_file.string(), number, error.what()));
    }
  }
  return out;
}

}  // namespace megalith
