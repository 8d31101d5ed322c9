#pragma once
// defines: LoadedModel, load_model, stored_model_config

#include <filesystem>
#include <memory>
#include <optional>

#include "megalith/checkpoint/reader.h"
#include "megalith/models/gpt/gpt_config.h"
#include "megalith/models/language_model.h"

namespace megalith {

struct LoadedModel {
  std::unique_ptr<LanguageModel> model;
  std::filesystem::path
      tokenizer;  ///< the tokenizer.json that lies with the weights; empty when there is none
};

/// A model with its weights from a run's directory (its latest checkpoint), a checkpoint's own, or a Hugging
/// Face directory. Throws Error naming the file and what is wrong with it.
LoadedModel load_model(const std::filesystem::path& path, Exec& exec);

/// The model that a checkpoint's recipe describes; empty where the recipe has no section of it.
std::optional<GptConfig> stored_model_config(const CheckpointReader& checkpoint);

}  // namespace megalith
