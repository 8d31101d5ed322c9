#include "megalith/models/gpt/hf_weights.h"

#include <list>
#include <map>
#include <set>
#include <string_view>
#include <system_error>

#include <nlohmann/json.hpp>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/models/gpt/hf_names.h"
#include "megalith/models/stored_tensor.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kWeightsFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

/// The tensors of a directory, from one file or from shards.
class HfFiles {
 public:
  struct Place {
    const SafetensorsFile* file = nullptr;
    const SafetensorsEntry* entry = nullptr;
  };

  explicit HfFiles(const fs::path& directory) : directory_(directory) {
    std::error_code ignored;
    if (fs::exists(directory / kWeightsFile, ignored)) {
      open(kWeightsFile);
    } else if (fs::exists(directory / kIndexFile, ignored)) {
      open_shards();
    } else {
      fail("{}: there is neither {} nor {}{}", directory.string(), kWeightsFile, kIndexFile,
           fs::exists(directory / "pytorch_model.bin", ignored)
               ? "; pytorch_model.bin is not read: convert it"
               : "");
    }
  }

  /// A model that was saved without its head lacks the first part of the names.
  Place find(const std::string& name) const {
    auto found = places_.find(name);
    if (found == places_.end()) found = places_.find(name.substr(name.find('.') + 1));
    return found == places_.end() ? Place{} : found->second;
  }
  const std::map<std::string, Place>& places() const { return places_; }

 private:
  const SafetensorsFile& open(const std::string& name) {
    const SafetensorsFile& file = files_.emplace_back(directory_ / name);
    for (const SafetensorsEntry& entry : file.entries()) {
      MG_CHECK(places_.emplace(entry.info.name, Place{&file, &entry}).second,
               "{}: tensor '{}' is in another shard as well", file.path().string(), entry.info.name);
    }
    return file;
  }

  void open_shards() {
    const std::string index = (directory_ / kIndexFile).string();
    std::map<std::string, std::string> shard_of;
    try {
      Json::parse(read_text_file(index)).at("weight_map").get_to(shard_of);
    } catch (const Json::exception& error) {
      fail("{}: not an index of safetensors shards: {}", index, error.what());
    }
    std::map<std::string, const SafetensorsFile*> shards;
    for (const auto& [tensor, name] : shard_of) {
      MG_CHECK(!name.empty() && name.find('/') == std::string::npos,
               "{}: '{}' is not the name of a file beside it", index, name);
      if (!shards.contains(name)) shards[name] = &open(name);
      MG_CHECK(shards[name]->find(tensor) != nullptr, "{}: tensor '{}' is not in {}", index, tensor,
               shards[name]->path().string());
    }
  }

  fs::path directory_;
  std::list<SafetensorsFile> files_;  // entries point into them
  std::map<std::string, Place> places_;
};

/// What a file may hold beside the weights: tables that are computed, and a head that is tied to the
/// embedding.
bool may_be_ignored(std::string_view name, const GptConfig& config) {
  const bool is_table = name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn.bias") ||
                        name.ends_with(".attn.masked_bias");
  return is_table || (name == "lm_head.weight" && !config.untie_embeddings_and_output_weights);
}

Tensor rows_of(const ParameterStore& store, const HfTensor& tensor) {
  return store.find(tensor.parameter).data.slice(0, tensor.row_begin, tensor.row_end);
}

void read_tensor(const HfFiles::Place& place, const HfTensor& tensor, const Tensor& rows, Exec& exec) {
  if (tensor.layout == HfLayout::kSame) {
    read_stored_tensor(*place.file, *place.entry, rows, exec);
    return;
  }
  const Tensor transposed = exec.empty({rows.dim(1), rows.dim(0)}, rows.dtype());
  read_stored_tensor(*place.file, *place.entry, transposed, exec);
  copy(transposed.transpose(0, 1), rows, exec);
}

/// As Hugging Face lays it out; contiguous.
Tensor to_hf_layout(const Tensor& rows, HfLayout layout, Exec& exec) {
  if (layout == HfLayout::kSame) return rows;
  const Tensor transposed = exec.empty({rows.dim(1), rows.dim(0)}, rows.dtype());
  copy(rows.transpose(0, 1), transposed, exec);
  return transposed;
}

void write_weights(const fs::path& path, GptModel& model, Exec& exec) {
  const std::vector<HfTensor> tensors = hf_tensors(model.config());
  std::vector<TensorInfo> infos;
  for (const HfTensor& tensor : tensors) {
    const Tensor rows = rows_of(model.parameters(), tensor);
    const bool is_same = tensor.layout == HfLayout::kSame;
    infos.push_back({tensor.name, rows.dtype(), is_same ? rows.shape() : Shape{rows.dim(1), rows.dim(0)}});
  }
  SafetensorsWriter writer(path, infos, {{"format", "pt"}});
  std::vector<std::byte> staging;
  for (const HfTensor& tensor : tensors) {
    const Tensor stored = to_hf_layout(rows_of(model.parameters(), tensor), tensor.layout, exec);
    writer.add(bytes_on_host(stored, staging));
  }
  writer.commit();
}

}  // namespace

void read_hf_weights(const fs::path& directory, GptModel& model, Exec& exec) {
  const HfFiles files(directory);
  std::set<const SafetensorsEntry*> used;
  std::map<std::string, int64_t> rows_filled;
  for (const HfTensor& tensor : hf_tensors(model.config())) {
    const HfFiles::Place place = files.find(tensor.name);
    MG_CHECK(place.entry != nullptr, "{}: there is no tensor '{}', which config.json asks for",
             directory.string(), tensor.name);
    read_tensor(place, tensor, rows_of(model.parameters(), tensor), exec);
    used.insert(place.entry);
    rows_filled[tensor.parameter] += tensor.row_end - tensor.row_begin;
  }
  for (const auto& [name, place] : files.places()) {
    MG_CHECK(used.contains(place.entry) || may_be_ignored(name, model.config()),
             "{}: tensor '{}' has no place in the model that config.json describes",
             place.file->path().string(), name);
  }
  for (const auto& parameter : model.parameters().parameters()) {
    const int64_t filled = rows_filled[parameter->name()], rows = parameter->data.dim(0);
    MG_CHECK(filled > 0, "parameter '{}' has no counterpart in a Hugging Face model", parameter->name());
    if (filled < rows) fill(parameter->data.slice(0, filled, rows), 0, exec);
  }
}

void write_hf_directory(const fs::path& directory, GptModel& model, const HfExport& options, Exec& exec) {
  std::error_code ignored;
  const fs::path place = directory.has_filename() ? directory : directory.parent_path();
  MG_CHECK(!fs::exists(place, ignored) || fs::is_empty(place, ignored),
           "{}: the directory is not empty; choose another", place.string());
  GptConfig config = model.config();
  config.bf16 = model.parameters().dtype() == DType::kBF16;
  config.fp16 = model.parameters().dtype() == DType::kF16;
  const std::string config_text = to_hf_config(config, options.tokens);

  const fs::path aside = place.parent_path() / fmt::format(".{}.tmp", place.filename().string());
  try {
    fs::remove_all(aside, ignored);
    make_directories(aside);
    write_text_file(aside / "config.json", config_text);
    if (!options.tokenizer.empty())
      write_text_file(aside / "tokenizer.json", read_text_file(options.tokenizer));
    write_weights(aside / kWeightsFile, model, exec);
    std::error_code error;
    fs::rename(aside, place, error);
    MG_CHECK(!error, "{}: cannot be published: {}", place.string(), error.message());
    sync_directory(place.parent_path());
  } catch (...) {
    fs::remove_all(aside, ignored);
    throw;
  }
}

}  // namespace megalith
