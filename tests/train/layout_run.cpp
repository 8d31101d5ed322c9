#include "tests/train/layout_run.h"

#include <gtest/gtest.h>

namespace megalith::testing {
namespace {

constexpr int64_t kGlobalBatch = 8, kSeq = 24, kPackedSeq = 64, kVocabulary = 96;
const Vocabulary kTokens{.size = kVocabulary - 5, .eod = 90};

RunConfig config_of(const LayoutCase& layout) {
  RunConfig c;
  c.model.num_layers = 8;
  c.model.hidden_size = 32;
  c.model.num_attention_heads = 8;
  c.model.ffn_hidden_size = 48;
  c.model.vocab_size = kVocabulary - 5;
  c.model.make_vocab_size_divisible_by = 16;
  c.model.max_position_embeddings = kSeq;
  c.model.init_method_std = 0.1;
  if (!layout.is_gpt2) {
    c.model.num_query_groups = 4;
    c.model.position_embedding_type = "rope";
    c.model.normalization = "RMSNorm";
    c.model.swiglu = true;
    c.model.add_bias_linear = false;
    c.model.untie_embeddings_and_output_weights = true;
  }
  c.model.moe = layout.moe;
  c.model.bf16 = layout.is_bf16;
  c.optim.main_grads_dtype = layout.main_grads_dtype;
  c.model.hidden_dropout = c.model.attention_dropout = layout.has_dropout ? 0.1 : 0;
  c.model.softmax_type = layout.softmax_type;
  c.data.mock_data = true;
  c.data.split = "100,0,0";
  c.data.seq_length = kSeq;
  c.optim.lr = 3e-3;
  c.optim.lr_decay_style = "constant";
  c.train.train_iters = 100;
  c.train.micro_batch_size = layout.micro_batch;
  c.train.global_batch_size = kGlobalBatch;
  c.train.calculate_per_token_loss = c.data.eod_mask_loss = layout.is_per_token;
  if (!layout.window.empty()) {
    c.model.window_size = layout.window;
    c.model.window_attn_skip_freq = "3";
  }
  if (!layout.documents.empty()) {
    c.data.mock_data = false;
    c.data.data_path = {layout.documents};
    c.data.reset_attention_mask = c.data.reset_position_ids = true;
    c.data.seq_length = c.model.max_position_embeddings = kPackedSeq;
  }
  if (!layout.recompute.empty()) c.train.recompute_granularity = layout.recompute;
  return c;
}

}  // namespace

LayoutRun run_layout(const LayoutCase& layout, int num_steps) {
  return LayoutRunner(config_of(layout), kTokens, {.num_steps = num_steps})
      .run(layout.parallel, layout.num_ranks);
}

LayoutRun expect_equal_runs(const LayoutCase& expected, const LayoutCase& actual) {
  const LayoutRun wanted = run_layout(expected, 10);
  EXPECT_LT(wanted.losses.back(), wanted.losses.front());
  const LayoutRun run = run_layout(actual, 10);
  const LayoutDeviation deviation = compare_layouts(wanted, run, layout_tolerance(config_of(actual)));
  EXPECT_TRUE(deviation.is_ok()) << deviation.where << ": " << deviation.worst << ", allowed "
                                 << deviation.allowed;
  ::testing::Test::RecordProperty("share_of_allowed", fmt::format("{:.3f}", deviation.share()));
  return run;
}

LayoutRun expect_equal_to_one_rank(const LayoutCase& layout) {
  LayoutCase one_rank = layout;
  one_rank.parallel = {};
  one_rank.num_ranks = 1;
  return expect_equal_runs(one_rank, layout);
}

std::vector<LayoutCase> layout_cases() {
  std::vector<LayoutCase> cases;
  const auto add = [&](const std::string& name, int num_ranks, const ParallelConfig& parallel) {
    cases.push_back({.name = "Llama_" + name, .num_ranks = num_ranks, .parallel = parallel});
    cases.push_back({.name = "Gpt2_" + name, .num_ranks = num_ranks, .parallel = parallel, .is_gpt2 = true});
  };
  const auto dp = [](const std::string& strategy) {
    return ParallelConfig{.data_parallel_sharding_strategy = strategy};
  };
  add("Dp2", 2, {});
  add("Dp4", 4, {});
  add("Zero1Dp2", 2, dp("optim"));
  add("Zero1Dp4", 4, dp("optim"));
  add("Tp2", 2, {.tensor_model_parallel_size = 2});
  add("Tp4", 4, {.tensor_model_parallel_size = 4});
  add("Tp2Sp", 2, {.tensor_model_parallel_size = 2, .sequence_parallel = true});
  add("Tp4Sp", 4, {.tensor_model_parallel_size = 4, .sequence_parallel = true});
  add("Tp2SpWholeProducts", 2,
      {.tensor_model_parallel_size = 2, .sequence_parallel = true, .tp_comm_overlap = false});
  add("Tp2SpPp2ZbH1", 4,
      {.tensor_model_parallel_size = 2,
       .pipeline_model_parallel_size = 2,
       .sequence_parallel = true,
       .pipeline_schedule = "zb-h1"});
  for (const auto& [name, schedule] : std::map<std::string, std::string>{{"GPipe", "gpipe"},
                                                                         {"1F1B", "1f1b"},
                                                                         {"Interleaved", "interleaved"},
                                                                         {"ZbH1", "zb-h1"},
                                                                         {"ZbV", "zb-v"},
                                                                         {"DualPipeV", "dualpipev"}}) {
    add("Pp2" + name, 2, {.pipeline_model_parallel_size = 2, .pipeline_schedule = schedule});
    add("Pp4" + name, 4, {.pipeline_model_parallel_size = 4, .pipeline_schedule = schedule});
  }
  for (const auto& [name, kind] : std::map<std::string, std::string>{
           {"Ring", "p2p"}, {"AllToAll", "a2a"}, {"AllGather", "all_gather"}}) {
    add("Cp2" + name, 2, {.context_parallel_size = 2, .cp_comm_type = kind});
    add("Cp4" + name, 4, {.context_parallel_size = 4, .cp_comm_type = kind});
  }
  add("Tp2Cp2Pp2", 8,
      {.tensor_model_parallel_size = 2,
       .pipeline_model_parallel_size = 2,
       .context_parallel_size = 2,
       .sequence_parallel = true});
  add("Tp2Cp2Pp2Dp2", 16,
      {.tensor_model_parallel_size = 2,
       .pipeline_model_parallel_size = 2,
       .context_parallel_size = 2,
       .sequence_parallel = true,
       .data_parallel_sharding_strategy = "optim"});
  add("Pp2Uneven", 2, {.pipeline_model_parallel_size = 2, .pipeline_model_parallel_layout = "Et*3|t*5L"});
  add("Tp2Pp2Dp2", 8,
      {.tensor_model_parallel_size = 2,
       .pipeline_model_parallel_size = 2,
       .sequence_parallel = true,
       .data_parallel_sharding_strategy = "optim"});
  add("Tp2Pp2Dp2OtherOrder", 8,
      {.tensor_model_parallel_size = 2, .pipeline_model_parallel_size = 2, .rank_order = "tp-cp-ep-pp-dp"});
  cases.push_back({.name = "Gpt2_Dp2Dropout", .num_ranks = 2, .is_gpt2 = true, .has_dropout = true});
  return cases;
}

}  // namespace megalith::testing
