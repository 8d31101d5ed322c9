#pragma once
// defines: LayoutCase, layout_tokens, largest_layout, layout_config, run_layout, expect_equal_runs,
// expect_equal_to_one_rank

#include <string>
#include <vector>

#include "megalith/train/layout_run.h"

/// Skips a test of more ranks than there can be.
#define MG_NEED_RANKS(count)                                            \
  do {                                                                  \
    if (::megalith::testing::largest_layout() < (count))                \
      GTEST_SKIP() << "needs " << (count) << " GPUs, this machine has " \
                   << ::megalith::testing::largest_layout();            \
  } while (0)

namespace megalith::testing {

struct LayoutCase {
  std::string name;
  int num_ranks = 1;
  ParallelConfig parallel;
  bool is_gpt2 = false;  ///< biases, learned positions, LayerNorm, tied head; else Llama-style
  bool has_dropout = false;
  std::string recompute = {};        ///< recompute_granularity
  bool is_per_token = false;         ///< calculate_per_token_loss, with tokens that do not count
  MoeConfig moe = {};                ///< of a Llama-style model
  std::vector<int64_t> window = {};  ///< window_size; every third layer sees all
  int64_t micro_batch = 1;
  std::string softmax_type = "vanilla";
  std::string documents = {};  ///< a data set whose documents do not see each other
  bool is_bf16 = false;
  std::string main_grads_dtype = "fp32";
};

/// The program of the tests that need several GPUs has these sources too: ranks are GPUs there, and models
/// are wider, for kernels that go over rows in vectors.
Vocabulary layout_tokens();

/// Ranks that a layout may have here: the number of GPUs where ranks are GPUs. Started as several processes
/// with torchrun's variables, all with the same tests, that program runs layouts of all GPUs across them.
int largest_layout();

/// The recipe of a layout, which `parallel` is no part of.
RunConfig layout_config(const LayoutCase& layout);

/// Trains a small model, in f32 if nothing else is said, on fixed tokens: global batch 8.
LayoutRun run_layout(const LayoutCase& layout, int num_steps);

/// Losses, norms and gradients of ten steps; returns those of `actual`.
LayoutRun expect_equal_runs(const LayoutCase& expected, const LayoutCase& actual);
/// The same on one rank.
LayoutRun expect_equal_to_one_rank(const LayoutCase& layout);

}  // namespace megalith::testing
