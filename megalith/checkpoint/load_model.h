#pragma once
// defines: LoadedModel, load_model

#include <filesystem>
#include <memory>

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

}  // namespace megalith
