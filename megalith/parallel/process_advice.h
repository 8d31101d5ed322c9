#pragma once
// defines: process_advice

#include <string>

#include "megalith/parallel/mesh.h"

namespace megalith {

/// What GPUs lose where the ranks of tensor or expert parallelism are in several processes, whose kernels do
/// not reach each other's memory, and what to start instead; empty where they lose nothing.
std::string process_advice(const Mesh& mesh);

}  // namespace megalith
