#pragma once
// defines: RunState, RunParts, SaveOptions, run_contents, save_run, load_run, load_run_weights

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "megalith/checkpoint/save.h"
#include "megalith/models/gpt/gpt_model.h"
#include "megalith/optim/adamw.h"
#include "megalith/optim/loss_scaler.h"

namespace megalith {

/// Where a run stands. With weights and optimizer state it is all that an exact resume needs: data order and
/// random streams follow from the counts and the seed.
struct RunState {
  int64_t iteration = 0;         ///< steps done
  int64_t consumed_samples = 0;  ///< samples taken from the training data
  int64_t schedule_samples =
      0;  ///< of them, those of steps that updated the weights: what the schedules count
};

struct RunParts {
  const Mesh* mesh = nullptr;
  ParameterStore* parameters = nullptr;
  std::vector<RouterView> routers = {};  ///< of the model
  AdamW* optimizer = nullptr;
  RunState* state = nullptr;
  LossScaler* loss_scaler = nullptr;        ///< or null
  const GptConfig* model_config = nullptr;  ///< of the parameters, held against a checkpoint's; or null
  std::string recipe = {};                  ///< the effective one, held against a checkpoint's; or empty
};

struct SaveOptions {
  std::string config_yaml;          ///< the effective recipe
  std::filesystem::path tokenizer;  ///< kept with the weights; may be empty
  int64_t keep_last = 0;            ///< 0: all
};

/// What this rank writes into a checkpoint of the run: what it alone has, and of what several have, its
/// share.
CheckpointContents run_contents(const RunParts& parts, const SaveOptions& options);

/// Publishes a checkpoint of the run under `root`. Returns its directory. Collective.
std::filesystem::path save_run(const std::filesystem::path& root, const RunParts& parts,
                               const SaveOptions& options);

/// Restores the newest checkpoint under `root`, saved from any layout; false when the directory is missing or
/// holds none. Collective.
bool load_run(const std::filesystem::path& root, const RunParts& parts, Exec& exec);

/// Takes only the weights of a checkpoint, or of a Hugging Face directory, for fine-tuning.
void load_run_weights(const std::filesystem::path& root, GptModel& model, AdamW& optimizer, Exec& exec);

}  // namespace megalith
