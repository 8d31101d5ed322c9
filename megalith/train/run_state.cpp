#include "megalith/train/run_state.h"

#include <charconv>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "megalith/base/log.h"
#include "megalith/checkpoint/layout.h"
#include "megalith/checkpoint/load_model.h"
#include "megalith/checkpoint/reader.h"
#include "megalith/checkpoint/router_buffers.h"
#include "megalith/models/gpt/hf_config.h"
#include "megalith/models/gpt/hf_weights.h"
#include "megalith/ops/elementwise.h"
#include "megalith/train/changed_keys.h"
#include "megalith/train/same_model.h"

namespace megalith {
namespace {

constexpr const char* kConsumedSamples = "consumed_samples";
constexpr const char* kScheduleSamples = "schedule_samples";
constexpr const char* kOptimizerSteps = "optimizer_steps";
// Of a dynamic loss scale alone.
constexpr const char* kLossScale = "loss_scale";
constexpr const char* kLossScaleGoodSteps = "loss_scale_good_steps";
constexpr const char* kLossScaleHysteresis = "loss_scale_hysteresis_left";

int64_t count_from(const CheckpointReader& reader, const std::string& key) {
  const std::string& text = reader.state(key);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  MG_CHECK(error == std::errc() && end == text.data() + text.size() && value >= 0,
           "{}: {} is '{}', not a count", reader.directory().string(), key, text);
  return value;
}

double scale_from(const CheckpointReader& reader) {
  const std::string& text = reader.state(kLossScale);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  MG_CHECK(error == std::errc() && end == text.data() + text.size() && std::isfinite(value) && value > 0,
           "{}: {} is '{}', not a loss scale", reader.directory().string(), kLossScale, text);
  return value;
}

std::map<std::string, std::string> state_texts(const RunParts& parts) {
  std::map<std::string, std::string> texts = {
      {kConsumedSamples, std::to_string(parts.state->consumed_samples)},
      {kScheduleSamples, std::to_string(parts.state->schedule_samples)},
      {kOptimizerSteps, std::to_string(parts.optimizer->num_steps())}};
  const LossScaler* scaler = parts.loss_scaler;
  if (scaler != nullptr && scaler->kind() == LossScaler::Kind::kDynamic) {
    texts[kLossScale] = fmt::format("{}", scaler->state().scale);
    texts[kLossScaleGoodSteps] = std::to_string(scaler->state().good_steps);
    texts[kLossScaleHysteresis] = std::to_string(scaler->state().hysteresis_left);
  }
  return texts;
}

std::string state_name(const AdamW::StatePiece& piece) {
  return fmt::format("{}.{}", piece.kind, piece.parameter->name());
}

TensorPiece place_of(const AdamW::StatePiece& piece) {
  const ParameterSpec& spec = piece.parameter->spec;
  return {spec.shape, spec.shard, piece.begin, piece.tensor.numel()};
}

// Of what several ranks hold alike, the one that writes it. Data-parallel ranks take turns; of shares, the
// instances do.
class SavedParts {
 public:
  SavedParts(const ParameterStore& store, const Mesh& mesh) : store_(&store), mesh_(&mesh) {
    for (const auto& parameter : store.parameters())
      turns_[parameter.get()] = static_cast<int>(turns_.size());
  }
  bool has(const Parameter& parameter) const {
    const bool is_expert = parameter.spec.is_expert;
    const Communicator& holders = is_expert ? mesh_->edp() : mesh_->dp_cp();
    const int num_shares = store_->sharing().of(is_expert).count;
    const int instance = holders.rank() / num_shares, num_instances = holders.size() / num_shares;
    return is_of_this_shard(parameter) && turns_.at(&parameter) % num_instances == instance;
  }

 private:
  bool is_of_this_shard(const Parameter& parameter) const {
    const ParameterSpec& spec = parameter.spec;
    if (spec.is_shared_by_stages && !mesh_->is_first_stage()) return false;
    return !spec.shard.is_whole() || mesh_->group(spec.is_expert ? Axis::kEtp : Axis::kTp).rank() == 0;
  }
  const ParameterStore* store_;
  const Mesh* mesh_;
  std::map<const Parameter*, int> turns_;
};

// Every tensor of the checkpoint is some rank's.
void check_names(const CheckpointReader& reader, const RunParts& parts, Exec& exec) {
  const std::vector<std::string> names = reader.tensor_names();
  std::set<std::string> own;
  for (const auto& parameter : parts.parameters->parameters()) own.insert(parameter->name());
  for (const NamedTensor& buffer : router_buffers(parts.routers)) own.insert(buffer.name);
  std::vector<int32_t> known;
  for (const std::string& name : names) known.push_back(own.contains(name) ? 1 : 0);
  const Tensor flags = exec.from_host(std::span<const int32_t>(known), {static_cast<int64_t>(known.size())});
  parts.mesh->world().all_reduce(flags, ReduceOp::kMax, "parameter names");
  const std::vector<double> found = to_vector<double>(flags);
  for (size_t i = 0; i < names.size(); ++i)
    MG_CHECK(found[i] != 0,
             "{}: tensor '{}' is not a parameter of the model: the checkpoint is of another model",
             reader.directory().string(), names[i]);
}

// Runs `fill` while every parameter has a window on the whole of this rank's part, and keeps the shares.
void with_whole_weights(ParameterStore& store, Exec& exec, const std::function<void()>& fill) {
  if (!store.sharing().shards_weights) return fill();
  const OwnerScope scope(exec.ledger(), "gathered weights");
  struct Whole {
    const ParameterUnit* unit;
    bool is_expert;
    Tensor weights;
  };
  std::vector<Whole> all;
  for (const auto& unit : store.units()) {
    for (const bool is_expert : {false, true}) {
      const FlatRange range = is_expert ? unit->expert : unit->dense;
      if (range.size() == 0 || store.sharing().of(is_expert).count == 1) continue;
      all.push_back({unit.get(), is_expert, exec.zeros({range.size()}, store.dtype())});
      store.bind_data(*unit, is_expert, all.back().weights);
    }
  }
  fill();
  for (const Whole& whole : all) {
    const int64_t begin = (whole.is_expert ? whole.unit->expert : whole.unit->dense).begin;
    const FlatRange share = store.share_of(*whole.unit, whole.is_expert);
    copy(whole.weights.slice(0, share.begin - begin, share.end - begin),
         store.share_of_data(*whole.unit, whole.is_expert), exec);
    store.bind_data(*whole.unit, whole.is_expert, {});
  }
}

}  // namespace

CheckpointContents run_contents(const RunParts& parts, const SaveOptions& options) {
  CheckpointContents contents{.iteration = parts.state->iteration,
                              .config_yaml = options.config_yaml,
                              .state = state_texts(parts),
                              .tokenizer = options.tokenizer};
  const SavedParts saved(*parts.parameters, *parts.mesh);
  const auto add = [&](std::vector<NamedTensor>& to, const std::string& name, const Parameter& parameter,
                       int64_t begin, const Tensor& tensor) {
    if (!saved.has(parameter)) return;
    const TensorPiece piece{parameter.spec.shape, parameter.spec.shard, begin, tensor.numel()};
    // A whole tensor needs no word on where it belongs.
    if (piece.is_whole())
      to.push_back({name, tensor.view(parameter.spec.shape), std::nullopt});
    else
      to.push_back({name, tensor, piece});
  };
  parts.parameters->visit_owned([&](const Parameter& parameter, int64_t begin, const Tensor& data) {
    add(contents.model, parameter.name(), parameter, begin, data);
  });
  // All ranks of a pipeline stage hold the same ones.
  if (parts.mesh->tp().rank() == 0 && parts.mesh->dp_cp().rank() == 0)
    for (NamedTensor& buffer : router_buffers(parts.routers)) contents.model.push_back(std::move(buffer));
  parts.optimizer->visit_state([&](const AdamW::StatePiece& piece) {
    add(contents.optimizer, state_name(piece), *piece.parameter, piece.begin, piece.tensor);
  });
  return contents;
}

std::filesystem::path save_run(const std::filesystem::path& root, const RunParts& parts,
                               const SaveOptions& options) {
  return save_checkpoint(root, run_contents(parts, options), {.count = options.keep_last},
                         parts.mesh->world());
}

bool load_run(const std::filesystem::path& root, const RunParts& parts, Exec& exec) {
  if (!holds_checkpoint(root)) return false;
  const CheckpointReader reader(root);
  if (const auto stored = stored_model_config(reader); stored && parts.model_config != nullptr)
    check_same_model(*stored, *parts.model_config, reader.directory().string());
  if (parts.mesh->world().rank() == 0) {
    const std::string changes = changed_keys(reader.config_yaml(), parts.recipe);
    if (!changes.empty())
      log_warn("{}: the recipe has changed since it was saved: {}", reader.directory().string(), changes);
  }
  const bool is_part = parts.mesh->world().size() > 1;
  if (is_part) check_names(reader, parts, exec);
  MG_CHECK(reader.has_optimizer(),
           "{}: has no optimizer state to go on from; --finetune takes only the weights",
           reader.directory().string());
  reader.read_model(*parts.parameters, exec,
                    is_part ? CheckpointReader::IsPart::kYes : CheckpointReader::IsPart::kNo,
                    router_buffers(parts.routers));
  parts.optimizer->visit_state([&](const AdamW::StatePiece& piece) {
    reader.read_optimizer(state_name(piece), place_of(piece), piece.tensor, exec);
  });
  parts.optimizer->set_num_steps(count_from(reader, kOptimizerSteps));
  *parts.state = {.iteration = reader.iteration(),
                  .consumed_samples = count_from(reader, kConsumedSamples),
                  .schedule_samples = count_from(reader, kScheduleSamples)};
  if (parts.loss_scaler != nullptr && reader.state().contains(kLossScale))
    parts.loss_scaler->restore({.scale = scale_from(reader),
                                .good_steps = count_from(reader, kLossScaleGoodSteps),
                                .hysteresis_left = count_from(reader, kLossScaleHysteresis)});
  return true;
}

void load_run_weights(const std::filesystem::path& root, GptModel& model, AdamW& optimizer, Exec& exec) {
  if (is_hugging_face_directory(root)) {
    const MeshShape& shape = model.mesh().shape();
    MG_CHECK(
        shape.tp == 1 && shape.pp == 1 && shape.ep == 1 && shape.etp == 1,
        "{}: a Hugging Face model is read where every rank has whole layers: tensor, pipeline and expert "
        "parallel sizes must be 1; a checkpoint that such a run saves loads on every layout",
        root.string());
    with_whole_weights(model.parameters(), exec, [&] { read_hf_weights(root, model, exec); });
  } else {
    const bool is_part = model.mesh().world().size() > 1;
    const CheckpointReader reader(root, CheckpointParts::kModel);
    if (const auto stored = stored_model_config(reader))
      check_same_model(*stored, model.config(), reader.directory().string());
    reader.read_model(model.parameters(), exec,
                      is_part ? CheckpointReader::IsPart::kYes : CheckpointReader::IsPart::kNo,
                      router_buffers(model.routers()));
  }
  optimizer.copy_master_from_model(exec);
}

}  // namespace megalith
