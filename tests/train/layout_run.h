#pragma once
// defines: LayoutCase, LayoutResult, run_layout, layout_cases

#include <map>
#include <string>
#include <vector>

#include "megalith/parallel/parallel_config.h"

namespace megalith::testing {

struct LayoutCase {
  std::string name;
  int num_ranks = 1;
  ParallelConfig parallel;
  bool is_gpt2 = false;  ///< biases, learned positions, LayerNorm, tied head; else Llama-style
  bool has_dropout = false;
  /// Llama-style with experts in every second layer, their losses, biases and a shared expert: "alltoall" or
  /// "allgather"; empty: dense.
  std::string dispatcher;
};

struct LayoutResult {
  std::vector<double> losses, grad_norms;
  /// Of the first step, before clipping, put together from the shards. By parameter.
  std::map<std::string, std::vector<double>> first_gradients;
};

/// Trains a small f32 model on fixed tokens: global batch 8, microbatches of 1.
LayoutResult run_layout(const LayoutCase& layout, int num_steps);

std::vector<LayoutCase> layout_cases();

}  // namespace megalith::testing
