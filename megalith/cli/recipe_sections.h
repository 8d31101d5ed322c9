#pragma once
// defines: add_recipe_sections

#include "megalith/cli/command.h"
#include "megalith/train/train_config.h"

namespace megalith {

/// The sections of a training recipe, for every command that reads one.
inline void add_recipe_sections(CommandLine& line, RunConfig& config) {
  line.add_recipe("model", "Model", config.model);
  line.add_recipe("data", "Data", config.data);
  line.add_recipe("optim", "Optimizer", config.optim);
  line.add_recipe("parallel", "Parallelism", config.parallel);
  line.add_recipe("train", "Training", config.train);
}

}  // namespace megalith
