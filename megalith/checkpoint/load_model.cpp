#include "megalith/checkpoint/load_model.h"

#include <system_error>

#include "megalith/base/error.h"
#include "megalith/base/text.h"
#include "megalith/checkpoint/layout.h"
#include "megalith/checkpoint/reader.h"
#include "megalith/checkpoint/router_buffers.h"
#include "megalith/config/recipe.h"
#include "megalith/models/gpt/hf_weights.h"

namespace megalith {
namespace {

namespace fs = std::filesystem;

/// One section of a recipe as to_yaml() writes it: its key at the start of a line, its fields indented below.
std::string section_of(const std::string& yaml, const std::string& section) {
  std::string found;
  bool is_inside = false;
  for (const std::string& line : split(yaml, '\n')) {
    const bool is_key = !line.empty() && line[0] != ' ' && line[0] != '#';
    if (is_key) is_inside = line.starts_with(section + ":");
    if (is_inside) found += line + "\n";
  }
  return found;
}

LoadedModel load_checkpoint(const fs::path& path, Exec& exec) {
  const CheckpointReader reader(path, CheckpointParts::kModel);
  const std::optional<GptConfig> config = stored_model_config(reader);
  MG_CHECK(config.has_value(), "the config in {}: has no section 'model'",
           (reader.directory() / kManifestFile).string());
  auto model = std::make_unique<GptModel>(*config, exec);
  reader.read_model(model->parameters(), exec, CheckpointReader::IsPart::kNo,
                    router_buffers(model->routers()));
  return {.model = std::move(model), .tokenizer = reader.tokenizer()};
}

LoadedModel load_hugging_face(const fs::path& path, Exec& exec) {
  auto model = std::make_unique<GptModel>(read_hf_config(path), exec);
  read_hf_weights(path, *model, exec);
  std::error_code ignored;
  const fs::path tokenizer = path / kTokenizerFile;
  return {.model = std::move(model), .tokenizer = fs::exists(tokenizer, ignored) ? tokenizer : fs::path()};
}

}  // namespace

std::optional<GptConfig> stored_model_config(const CheckpointReader& checkpoint) {
  const std::string section = section_of(checkpoint.config_yaml(), "model");
  if (section.find("\n ") == std::string::npos) return std::nullopt;  // no key below its name
  GptConfig config;
  Options options;
  options.add({.name = "model", .title = "Model", .fields = {}, .validate = {}}, config);
  parse_recipe(options, section,
               fmt::format("the config in {}", (checkpoint.directory() / kManifestFile).string()));
  options.check();
  return config;
}

LoadedModel load_model(const fs::path& path, Exec& exec) {
  std::error_code ignored;
  MG_CHECK(fs::is_directory(path, ignored), "{}: there is no such directory", path.string());
  if (is_hugging_face_directory(path)) return load_hugging_face(path, exec);
  MG_CHECK(holds_checkpoint(path),
           "{}: holds neither a checkpoint ({} or iter_NNNNNNN) nor a Hugging Face model (config.json)",
           path.string(), kLatestFile);
  return load_checkpoint(path, exec);
}

}  // namespace megalith
