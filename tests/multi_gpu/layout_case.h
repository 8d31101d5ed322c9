#pragma once
// defines: layout_config, expect_equal_to_one_gpu

#include <string>

#include "megalith/train/layout_run.h"

namespace megalith {

/// A small Llama-style model, which every layout of four ranks divides.
RunConfig layout_config();

/// Ten steps in f32: losses, norms and gradients are those of one GPU.
void expect_equal_to_one_gpu(const RunConfig& config, const std::string& name, int num_ranks,
                             const ParallelConfig& parallel);

}  // namespace megalith
