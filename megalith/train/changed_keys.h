#pragma once
// defines: changed_keys

#include <string>

namespace megalith {

/// "data.seed 1234 -> 5, optim.lr 0.1 -> 0.2": the keys of model, data and optimizer, and the batch sizes,
/// that are not what they were when a checkpoint was saved; empty when none is. A run that goes on with
/// others is not the one that was interrupted. Keys that one of the recipes does not have do not count
/// (another version wrote it), nor those that only say where numbers lie. Both are recipes as to_yaml()
/// writes them.
std::string changed_keys(const std::string& stored_recipe, const std::string& recipe);

}  // namespace megalith
