#pragma once
// defines: check_same_recipe, first_difference

#include <string>

#include "megalith/comm/communicator.h"

namespace megalith {

/// Collective over a group for CPU tensors. Throws Error in every rank whose effective recipe is not that of
/// rank 0, naming the first key that differs, and PeerFailure in the others.
void check_same_recipe(Communicator& host, const std::string& yaml);

/// "train.lr is 0.001 here and 0.0001 there"; empty for equal texts. `here` and `there` are recipes as
/// `train --print-config` prints them.
std::string first_difference(const std::string& here, const std::string& there);

}  // namespace megalith
