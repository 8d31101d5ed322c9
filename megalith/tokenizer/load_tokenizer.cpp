#include <nlohmann/json.hpp>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/tokenizer/bpe_tokenizer.h"
#include "megalith/tokenizer/tokenizer_json.h"

namespace megalith {
namespace {

/// `eos_token` of the tokenizer_config.json beside a tokenizer.json: a string, or an object with `content`.
/// "" when the file or the key is absent.
std::string configured_eos(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "tokenizer_config.json";
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return {};
  try {
    const auto config = nlohmann::json::parse(read_text_file(path));
    if (!config.contains("eos_token") || config.at("eos_token").is_null()) return {};
    const auto& eos = config.at("eos_token");
    return eos.is_object() ? eos.at("content").get<std::string>() : eos.get<std::string>();
  } catch (const nlohmann::json::exception& problem) {
    fail("{}: cannot read 'eos_token': {}", path.string(), problem.what());
  }
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  std::error_code error;
  const bool is_directory = std::filesystem::is_directory(path, error);
  const std::filesystem::path file = is_directory ? path / "tokenizer.json" : path;
  MG_CHECK(std::filesystem::exists(file, error),
           "{}: no such file; a tokenizer is a Hugging Face tokenizer.json or a directory that holds one",
           file.string());
  BpeModel model = read_tokenizer_json(file);
  try {
    return std::make_unique<BpeTokenizer>(std::move(model), configured_eos(file.parent_path()));
  } catch (const Error& problem) {
    fail("{}: {}", file.string(), problem.what());
  }
}

}  // namespace megalith
