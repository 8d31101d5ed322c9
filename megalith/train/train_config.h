#pragma once
// defines: TrainConfig, RunConfig

#include <cstdint>
#include <string>
#include <vector>

#include "megalith/autograd/tape.h"
#include "megalith/config/field.h"
#include "megalith/data/data_config.h"
#include "megalith/models/gpt/gpt_config.h"
#include "megalith/optim/optim_config.h"
#include "megalith/parallel/parallel_config.h"

namespace megalith {

/// The training run itself. Names are Megatron's where it has one.
struct TrainConfig {
  int64_t train_iters = 0;
  int64_t micro_batch_size = 1;
  int64_t global_batch_size = 0;  ///< 0: micro_batch_size; over all ranks

  std::string tokenizer_model;
  std::string device = "auto";
  int64_t num_threads = 0;
  bool allow_tf32 = false;
  bool deterministic_mode = false;

  int64_t eval_interval = 1000;
  int64_t eval_iters = 100;
  int64_t log_interval = 10;
  std::string metrics;

  std::string save;
  std::string load;
  int64_t save_interval = 0;
  int64_t keep_last = 0;
  bool async_save = false;
  bool finetune = false;

  std::string recompute_granularity = "none";
  std::vector<std::string> recompute_modules = {"layernorm", "mlp_act"};
  int64_t cpu_offloading_num_layers = 0;
  bool activation_arena = false;
  bool calculate_per_token_loss = false;
  std::string nan_policy = "stop";
  int64_t timing_log_level = 0;
  bool profile = false;
  int64_t profile_step_start = 10;
  int64_t profile_step_end = 12;
  std::string cuda_graph_impl = "none";
  int64_t cuda_graph_warmup_steps = 3;

  int64_t batch_size() const { return global_batch_size > 0 ? global_batch_size : micro_batch_size; }
  /// Of each data-parallel rank.
  int64_t num_microbatches(int64_t data_parallel_size) const {
    return batch_size() / (micro_batch_size * data_parallel_size);
  }
  RecomputePolicy recompute_policy() const;
  /// `step` counts from 1.
  bool profiles_step(int64_t step) const {
    return profile && step >= profile_step_start && step < profile_step_end;
  }
};

void declare_fields(TrainConfig& config, FieldList& fields);
void validate(const TrainConfig& config);

/// A whole recipe: sections model, data, optim, parallel and train.
struct RunConfig {
  GptConfig model;
  DataConfig data;
  OptimConfig optim;
  ParallelConfig parallel;
  TrainConfig train;
};

/// Fills what sections take from one another (max_position_embeddings from seq_length, vocab_size from the
/// tokenizer) and checks them together. Throws UsageError naming the keys.
void complete(RunConfig& config, int64_t tokenizer_vocab_size);

/// Whether optim and train may ask of the model's dtype what they ask. Throws UsageError naming the keys.
void check_dtypes(const RunConfig& config);

/// check_dtypes, and whether the recipe's layout fits the ranks and its batch the layout. Throws UsageError
/// naming the keys.
void check_layout(const RunConfig& config, int num_ranks);

}  // namespace megalith
