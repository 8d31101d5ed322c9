#include "megalith/checkpoint/reader.h"

#include <algorithm>
#include <memory>
#include <set>
#include <system_error>
#include <utility>

#include "megalith/base/error.h"
#include "megalith/base/text.h"
#include "megalith/checkpoint/layout.h"
#include "megalith/checkpoint/shard_list.h"

namespace megalith {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMasterPrefix = "master.";

bool is_folder(const fs::path& path) {
  std::error_code ignored;  // what cannot be looked at is not there
  return fs::is_directory(path, ignored);
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_model_file(const std::string& name) {
  return name.starts_with("model") && name.ends_with(".safetensors");
}

bool is_optimizer_file(const std::string& name) {
  return name.starts_with("optimizer") && name.ends_with(".safetensors");
}

/// In the order of the iterations.
bool is_earlier(const std::string& name, const std::string& other) {
  return std::pair(name.size(), name) < std::pair(other.size(), other);
}

bool is_checkpoint_directory(const fs::path& path) {
  return is_there(path / kManifestFile) || path.filename().string().starts_with("iter_");
}

fs::path find_directory(const fs::path& path, std::optional<int64_t> iteration) {
  MG_CHECK(is_folder(path), "{}: there is no such directory", path.string());
  if (!iteration && is_checkpoint_directory(path)) return path;
  if (!iteration) iteration = latest_iteration(path);
  MG_CHECK(iteration.has_value(), "{}: holds no checkpoint (neither {} nor iter_NNNNNNN)", path.string(),
           kLatestFile);
  return path / iteration_directory(*iteration);
}

/// Reads the manifest and holds the files of `parts` against it.
Manifest verify(const fs::path& directory, CheckpointParts parts) {
  MG_CHECK(is_folder(directory), "{}: the checkpoint is missing", directory.string());
  Manifest manifest = read_manifest(directory / kManifestFile);
  const bool has_model = std::any_of(manifest.files.begin(), manifest.files.end(),
                                     [](const auto& file) { return is_model_file(file.first); });
  MG_CHECK(has_model, "{}: the manifest has no {}", (directory / kManifestFile).string(), kModelFile);
  for (const auto& [name, stored] : manifest.files) {
    if (parts == CheckpointParts::kModel && is_optimizer_file(name)) continue;
    verify_file(directory / name, stored);
  }
  return manifest;
}

/// The newest good checkpoint beside `directory` of an earlier iteration.
std::optional<fs::path> find_earlier_good(const fs::path& directory, CheckpointParts parts) {
  const fs::path root = directory.has_parent_path() ? directory.parent_path() : fs::path(".");
  const std::vector<int64_t> iterations = saved_iterations(root);
  for (auto iteration = iterations.rbegin(); iteration != iterations.rend(); ++iteration) {
    const std::string name = iteration_directory(*iteration);
    if (!is_earlier(name, directory.filename().string())) continue;
    try {
      verify(root / name, parts);
      return root / name;
    } catch (const Error&) {  // bad as well: try the one before
    }
  }
  return std::nullopt;
}

Manifest verify_or_suggest(const fs::path& directory, CheckpointParts parts) {
  try {
    return verify(directory, parts);
  } catch (const Error& error) {
    const auto good = find_earlier_good(directory, parts);
    fail("{}; {}", error.what(),
         good
             ? fmt::format("the newest earlier checkpoint that is good is {0}: name that directory to use it "
                           "(--load {0})",
                           good->string())
             : std::string("there is no earlier good checkpoint beside it"));
  }
}

}  // namespace

CheckpointReader::CheckpointReader(const fs::path& path, CheckpointParts parts,
                                   std::optional<int64_t> iteration)
    : directory_(find_directory(path.has_filename() ? path : path.parent_path(), iteration)),
      manifest_(verify_or_suggest(directory_, parts)) {
  std::map<std::string, std::map<std::string, TensorPiece>> pieces;
  for (const auto& [name, stored] : manifest_.files)
    if (name.starts_with("shards_")) pieces.merge(read_shard_list(directory_ / name).pieces);
  for (const auto& [name, stored] : manifest_.files) {
    const bool is_optimizer = is_optimizer_file(name);
    if (!is_model_file(name) && !(is_optimizer && parts == CheckpointParts::kAll)) continue;
    (is_optimizer ? optimizer_ : model_)
        .add(std::make_shared<SafetensorsFile>(directory_ / name), pieces[name]);
    has_optimizer_ = has_optimizer_ || is_optimizer;
  }
  model_.check_complete();
  optimizer_.check_complete();
}

const std::string& CheckpointReader::state(const std::string& key) const {
  const auto found = manifest_.state.find(key);
  MG_CHECK(found != manifest_.state.end(), "{}: the training state has no '{}'",
           (directory_ / kManifestFile).string(), key);
  return found->second;
}

fs::path CheckpointReader::tokenizer() const {
  return manifest_.files.contains(kTokenizerFile) ? directory_ / kTokenizerFile : fs::path();
}

DType CheckpointReader::model_dtype() const {
  const std::vector<std::string> names = model_.names();
  return names.empty() ? DType::kF32 : model_.dtype(names.front());
}

void CheckpointReader::read_model(const ParameterStore& store, Exec& exec, IsPart is_part,
                                  const std::vector<NamedTensor>& buffers) const {
  std::set<std::string> names;
  for (const NamedTensor& buffer : buffers) {
    names.insert(buffer.name);
    model_.read(buffer.name, {.whole = buffer.tensor.shape(), .begin = 0, .length = buffer.tensor.numel()},
                buffer.tensor, exec);
  }
  for (const auto& parameter : store.parameters()) names.insert(parameter->name());
  for (const std::string& name : model_.names()) {
    if (is_part == IsPart::kYes || names.contains(name)) continue;
    const std::string guess = nearest(name, std::vector<std::string>(names.begin(), names.end()));
    fail("{}: tensor '{}' is not a parameter of the model{}: the checkpoint is of another model",
         directory_.string(), name, guess.empty() ? "" : fmt::format(" (the nearest is '{}')", guess));
  }
  store.visit_held([&](const Parameter& parameter, int64_t begin, const Tensor& data) {
    const std::string master = std::string(kMasterPrefix) + parameter.name();
    const bool takes_master =
        optimizer_.contains(master) && size_of(model_.dtype(parameter.name())) < size_of(data.dtype());
    const TensorPiece piece{parameter.spec.shape, parameter.spec.shard, begin, data.numel()};
    if (takes_master)
      optimizer_.read(master, piece, data, exec);
    else
      model_.read(parameter.name(), piece, data, exec);
  });
}

void CheckpointReader::read_optimizer(const std::string& name, const TensorPiece& piece, const Tensor& to,
                                      Exec& exec) const {
  MG_CHECK(has_optimizer_, "{}: has no {}: it was saved without optimizer state", directory_.string(),
           kOptimizerFile);
  if (name.starts_with(kMasterPrefix) && !optimizer_.contains(name))
    return model_.read(name.substr(kMasterPrefix.size()), piece, to, exec);
  optimizer_.read(name, piece, to, exec);
}

bool holds_checkpoint(const fs::path& path) {
  return is_there(path / kManifestFile) || is_there(path / kLatestFile) || !saved_iterations(path).empty();
}

}  // namespace megalith
