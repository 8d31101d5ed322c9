#pragma once
// defines: check_same_model

#include <string>

#include "megalith/models/gpt/gpt_config.h"

namespace megalith {

/// Tensors of equal shapes may belong to different models. Throws Error naming `place` (a checkpoint) and the
/// first key of the recipe with which its weights would compute something else than they were trained to.
/// Keys that runs change on purpose, such as rotary_base for a longer context, are not held.
void check_same_model(const GptConfig& stored, const GptConfig& here, const std::string& place);

}  // namespace megalith
