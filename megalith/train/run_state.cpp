#include "megalith/train/run_state.h"

#include <charconv>

#include "megalith/checkpoint/layout.h"
#include "megalith/checkpoint/reader.h"
#include "megalith/checkpoint/save.h"
#include "megalith/models/gpt/hf_config.h"
#include "megalith/models/gpt/hf_weights.h"

namespace megalith {
namespace {

constexpr const char* kConsumedSamples = "consumed_samples";
constexpr const char* kScheduleSamples = "schedule_samples";
constexpr const char* kOptimizerSteps = "optimizer_steps";

int64_t count_from(const CheckpointReader& reader, const std::string& key) {
  const std::string& text = reader.state(key);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  MG_CHECK(error == std::errc() && end == text.data() + text.size() && value >= 0,
           "{}: {} is '{}', not a count", reader.directory().string(), key, text);
  return value;
}

std::string state_name(const AdamW::StatePiece& piece) {
  return fmt::format("{}.{}", piece.kind, piece.parameter->name());
}

}  // namespace

std::filesystem::path save_run(const std::filesystem::path& root, const RunParts& parts,
                               const SaveOptions& options) {
  CheckpointContents contents{.iteration = parts.state->iteration,
                              .config_yaml = options.config_yaml,
                              .state = {{kConsumedSamples, std::to_string(parts.state->consumed_samples)},
                                        {kScheduleSamples, std::to_string(parts.state->schedule_samples)},
                                        {kOptimizerSteps, std::to_string(parts.optimizer->num_steps())}},
                              .tokenizer = options.tokenizer};
  for (const auto& parameter : parts.parameters->parameters())
    contents.model.push_back({parameter->name(), parameter->data});
  parts.optimizer->visit_state([&](const AdamW::StatePiece& piece) {
    contents.optimizer.push_back({state_name(piece), piece.tensor.view(piece.parameter->spec.shape)});
  });
  save_checkpoint(root, contents, {.count = options.keep_last});
  return root / iteration_directory(contents.iteration);
}

bool load_run(const std::filesystem::path& root, const RunParts& parts, Exec& exec) {
  if (!holds_checkpoint(root)) return false;
  const CheckpointReader reader(root);
  MG_CHECK(reader.has_optimizer(),
           "{}: has no optimizer state to go on from; --finetune takes only the weights",
           reader.directory().string());
  reader.read_model(*parts.parameters, exec);
  parts.optimizer->visit_state([&](const AdamW::StatePiece& piece) {
    reader.read_optimizer(state_name(piece), piece.tensor.view(piece.parameter->spec.shape), exec);
  });
  parts.optimizer->set_num_steps(count_from(reader, kOptimizerSteps));
  *parts.state = {.iteration = reader.iteration(),
                  .consumed_samples = count_from(reader, kConsumedSamples),
                  .schedule_samples = count_from(reader, kScheduleSamples)};
  return true;
}

void load_run_weights(const std::filesystem::path& root, GptModel& model, AdamW& optimizer, Exec& exec) {
  if (is_hugging_face_directory(root)) {
    read_hf_weights(root, model, exec);
  } else {
    CheckpointReader(root, CheckpointParts::kModel).read_model(model.parameters(), exec);
  }
  optimizer.copy_master_from_model(exec);
}

}  // namespace megalith
