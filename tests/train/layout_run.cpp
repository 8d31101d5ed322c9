#include "tests/train/layout_run.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>

#include <gtest/gtest.h>

#include "megalith/comm/host_numbers.h"
#include "megalith/comm/launch.h"
#include "megalith/comm/packed_words.h"
#include "megalith/config/recipe.h"
#include "megalith/core/cuda/cuda_context.h"

#include "tests/train/recipe_options.h"

namespace megalith::testing {
namespace {

constexpr int64_t kGlobalBatch = 8, kPackedSeq = 64;

// Seeds and widths leave room between the scores of experts: where two of a token score alike, the order of
// sums could choose between them.
struct Sizes {
  int64_t hidden, ffn, seq;
};

#ifdef MG_RANKS_ARE_GPUS
constexpr DeviceKind kDevice = DeviceKind::kCuda;
constexpr Vocabulary kTokens{.size = 250, .eod = 249};
constexpr Sizes kDense{.hidden = 128, .ffn = 192, .seq = 64},
    kWithExperts{.hidden = 64, .ffn = 96, .seq = 32};
constexpr int64_t kVocabularyMultiple = 64, kExpertFfn = 48, kSharedExpertFfn = 64;
constexpr double kLearningRate = 5e-4;
constexpr int64_t kSeed = 1;
#else
constexpr DeviceKind kDevice = DeviceKind::kCpu;
constexpr Vocabulary kTokens{.size = 91, .eod = 90};
constexpr Sizes kDense{.hidden = 32, .ffn = 48, .seq = 24}, kWithExperts = kDense;
constexpr int64_t kVocabularyMultiple = 16, kExpertFfn = 16, kSharedExpertFfn = 16;
constexpr double kLearningRate = 3e-3;
constexpr int64_t kSeed = 1234;
#endif

}  // namespace

RunConfig layout_config(const LayoutCase& layout) {
  const Sizes& sizes = layout.moe.num_experts > 0 ? kWithExperts : kDense;
  RunConfig c;
  c.model.num_layers = 8;
  c.model.hidden_size = sizes.hidden;
  c.model.num_attention_heads = 8;
  c.model.ffn_hidden_size = sizes.ffn;
  c.model.vocab_size = *kTokens.size;
  c.model.make_vocab_size_divisible_by = kVocabularyMultiple;
  c.model.max_position_embeddings = sizes.seq;
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
  if (c.model.moe.ffn_hidden_size > 0) c.model.moe.ffn_hidden_size = kExpertFfn;
  if (c.model.moe.shared_expert_intermediate_size > 0)
    c.model.moe.shared_expert_intermediate_size = kSharedExpertFfn;
  c.model.bf16 = layout.is_bf16;
  c.optim.main_grads_dtype = layout.main_grads_dtype;
  c.model.hidden_dropout = c.model.attention_dropout = layout.has_dropout ? 0.1 : 0;
  c.model.softmax_type = layout.softmax_type;
  c.data.mock_data = true;
  c.data.split = "100,0,0";
  c.data.seq_length = sizes.seq;
  c.data.seed = kSeed;
  c.optim.lr = kLearningRate;
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

Vocabulary layout_tokens() {
  return kTokens;
}

#ifdef MG_RANKS_ARE_GPUS
namespace {

// The GPUs of this process and of those that torchrun's variables name.
Launch launch_of_gpus() {
  return find_launch(std::max(1, cuda_device_count()));
}

template <class T>
void put(const std::vector<T>& values, WordPacker& packer) {
  packer.put(static_cast<int64_t>(values.size()));
  packer.put(values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
}

template <class T>
void get(std::vector<T>& values, WordUnpacker& unpacker) {
  values.resize(static_cast<size_t>(unpacker.number()));
  unpacker.get(values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
}

// What rank 0 has, for all ranks: a test then says the same in every process.
void share(LayoutRun& run, Communicator& host) {
  WordPacker own;
  for (const auto* values : {&run.losses, &run.grad_norms, &run.dropped_choices}) put(*values, own);
  for (const auto& [name, gradient] : run.first_gradients) {
    put(std::vector<char>(name.begin(), name.end()), own);
    put(gradient, own);
  }
  const std::vector<int64_t> words = HostNumbers().broadcast(host, own.words(), 0, "run");
  WordUnpacker all(words);
  for (auto* values : {&run.losses, &run.grad_norms, &run.dropped_choices}) get(*values, all);
  while (!all.is_at_end()) {
    std::vector<char> name;
    get(name, all);
    get(run.first_gradients[std::string(name.begin(), name.end())], all);
  }
}

LayoutRun run_in_processes(const LayoutRunner& runner, const ParallelConfig& parallel, Launch launch) {
  static int num_runs = 0;
  launch.sockets.port += num_runs++;  // who is ahead may not find the server of the run before
  LayoutRun result;
  run_launched(launch, std::chrono::minutes(1), [&](const LaunchedRank& place) {
    const int index = gpu_of_rank(launch, place.local_rank, cuda_device_count());
    LayoutRun of_rank = runner.run_rank(parallel, place.host, {kDevice, index});
    share(of_rank, place.host);
    if (place.host.rank() % launch.num_threads == 0) result = std::move(of_rank);
  });
  return result;
}

}  // namespace

int largest_layout() {
  return cuda_device_count() == 0 ? 0 : launch_of_gpus().num_ranks;
}
#else
int largest_layout() {
  return std::numeric_limits<int>::max();
}
#endif

namespace {

std::string text_of(RunConfig config) {
  return to_yaml(recipe_options(config));
}

// A recipe and its data, which take longer to make than ten steps, once for all tests of a program.
const LayoutRunner& runner_of(const RunConfig& config, int num_steps) {
  static std::map<std::pair<std::string, int>, LayoutRunner> runners;
  return runners
      .try_emplace({text_of(config), num_steps}, config, kTokens,
                   LayoutRunner::Options{.num_steps = num_steps, .device = kDevice})
      .first->second;
}

// Ten steps; those of one rank once for all tests of a program.
LayoutRun ten_steps(const LayoutCase& layout) {
  if (layout.num_ranks > 1) return run_layout(layout, 10);
  static std::map<std::string, LayoutRun> runs;
  RunConfig config = layout_config(layout);
  config.parallel = layout.parallel;
  const auto [place, is_new] = runs.try_emplace(text_of(config));
  if (is_new) place->second = run_layout(layout, 10);
  return place->second;
}

}  // namespace

LayoutRun run_layout(const LayoutCase& layout, int num_steps) {
#ifdef MG_RANKS_ARE_GPUS
  if (const Launch launch = launch_of_gpus();
      launch.kind == LaunchKind::kSockets && layout.num_ranks == launch.num_ranks)
    return run_in_processes(runner_of(layout_config(layout), num_steps), layout.parallel, launch);
#endif
  return runner_of(layout_config(layout), num_steps).run(layout.parallel, layout.num_ranks);
}

LayoutRun expect_equal_runs(const LayoutCase& expected, const LayoutCase& actual) {
  const LayoutRun wanted = ten_steps(expected);
  EXPECT_LT(wanted.losses.back(), wanted.losses.front());
  const LayoutRun run = ten_steps(actual);
  const LayoutDeviation deviation = compare_layouts(wanted, run, layout_tolerance(layout_config(actual)));
  EXPECT_TRUE(deviation.is_ok()) << deviation.where << ": " << deviation.worst << ", allowed "
                                 << deviation.allowed;
  std::printf("worst %.1e of %.1e allowed\n", deviation.worst, deviation.allowed);
  ::testing::Test::RecordProperty("share_of_allowed", fmt::format("{:.3f}", deviation.share()));
  return run;
}

LayoutRun expect_equal_to_one_rank(const LayoutCase& layout) {
  LayoutCase one_rank = layout;
  one_rank.parallel = {};
  one_rank.num_ranks = 1;
  return expect_equal_runs(one_rank, layout);
}

}  // namespace megalith::testing
