#pragma once
// defines: build_model

#include <memory>

#include "megalith/models/gpt/gpt_model.h"

namespace megalith {

/// This rank's part of the model, by the recipe's layout of pipeline stages. Parameters are undefined.
std::unique_ptr<GptModel> build_model(const GptConfig& config, const Mesh& mesh, Exec& exec);

}  // namespace megalith
