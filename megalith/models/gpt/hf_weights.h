#pragma once
// defines: read_hf_weights, HfExport, write_hf_directory

#include <filesystem>

#include "megalith/models/gpt/gpt_model.h"
#include "megalith/models/gpt/hf_config.h"

namespace megalith {

/// Fills a model made from read_hf_config(directory) from model.safetensors, or from the shards that
/// model.safetensors.index.json names. Values are converted to the model's dtype (stored_tensor.h); rows of
/// padding become zero. A tensor that is missing, unexpected, or of another shape throws Error naming it and
/// its file.
void read_hf_weights(const std::filesystem::path& directory, GptModel& model, Exec& exec);

struct HfExport {
  std::filesystem::path tokenizer;  ///< a tokenizer.json to put beside the weights; may be empty
  HfTokens tokens;
};

/// Writes config.json and model.safetensors in the model's dtype: what was imported in that dtype comes out
/// bit for bit. The directory is written aside and appears whole; one that exists must be empty. Throws Error
/// when Hugging Face has no such model.
void write_hf_directory(const std::filesystem::path& directory, GptModel& model, const HfExport& options,
                        Exec& exec);

}  // namespace megalith
