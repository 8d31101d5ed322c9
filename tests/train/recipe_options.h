#pragma once
// defines: recipe_options

#include "megalith/config/options.h"
#include "megalith/train/train_config.h"

namespace megalith::testing {

/// The sections of a recipe, bound to `config`.
inline Options recipe_options(RunConfig& config) {
  Options options;
  options.add({.name = "model", .title = ""}, config.model);
  options.add({.name = "data", .title = ""}, config.data);
  options.add({.name = "optim", .title = ""}, config.optim);
  options.add({.name = "parallel", .title = ""}, config.parallel);
  options.add({.name = "train", .title = ""}, config.train);
  return options;
}

}  // namespace megalith::testing
