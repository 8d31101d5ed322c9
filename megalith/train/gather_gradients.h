#pragma once
// defines: gather_gradients

#include <map>
#include <string>
#include <vector>

#include "megalith/autograd/parameter.h"
#include "megalith/comm/communicator.h"

namespace megalith {

/// Collective over `host`, all ranks for CPU tensors: at rank 0 the gradients of all parameters, each put
/// together from the stretches whose sums the ranks have; elsewhere nothing.
std::map<std::string, std::vector<float>> gather_gradients(Communicator& host, const ParameterStore& store);

}  // namespace megalith
