#include "megalith/train/verify_layouts.h"

#include <algorithm>
#include <set>

#include "megalith/base/error.h"
#include "megalith/base/math.h"
#include "megalith/parallel/mesh_shape.h"
#include "megalith/parallel/pipeline/make_schedule.h"
#include "megalith/train/layout_choices.h"

namespace megalith {
namespace {

RunConfig verified_config(RunConfig config, int num_ranks) {
  config.model.bf16 = config.model.fp16 = config.train.allow_tf32 = false;
  config.optim.main_grads_dtype = "fp32";
  config.model.hidden_dropout = config.model.attention_dropout = 0;
  config.train.micro_batch_size = 1;
  config.train.global_batch_size = 2 * num_ranks;
  config.train.nan_policy = "stop";
  config.train.timing_log_level = 0;
  config.optim.lr_decay_style = "constant";
  config.optim.lr_warmup_iters = 0;
  config.optim.lr_warmup_fraction = 0;
  const DataConfig& data = config.data;
  config.data.mock_data = data.mock_data || (data.data_path.empty() && data.train_data_path.empty());
  return config;
}

// What all layouts take from the recipe's.
ParallelConfig common_part(const ParallelConfig& recipe) {
  return {.overlap_grad_reduce = recipe.overlap_grad_reduce,
          .overlap_param_gather = recipe.overlap_param_gather,
          .reshard_after_forward = recipe.reshard_after_forward,
          .moe_shared_expert_overlap = recipe.moe_shared_expert_overlap,
          .rank_order = recipe.rank_order};
}

// What only some layouts can do.
void overlap_experts(std::vector<ParallelConfig>& layouts, const GptConfig& model) {
  for (ParallelConfig& layout : layouts) {
    const bool has_pairs = layout.pipeline_model_parallel_size == 1 ||
                           pairs_passes(parse_schedule_kind(layout.pipeline_schedule));
    layout.overlap_moe_expert_parallel_comm =
        layout.expert_model_parallel_size > 1 && has_pairs && model.moe.token_dispatcher_type == "alltoall";
  }
}

// With packed documents, each ring of a size once more with as few ranks for a document as it needs, where a
// document of half a row lies on half of them.
void add_hybrid_layouts(std::vector<ParallelConfig>& layouts, const DataConfig& data) {
  if (!data.reset_attention_mask) return;
  std::set<int64_t> sizes;
  std::vector<ParallelConfig> hybrids;
  for (ParallelConfig layout : layouts) {
    const int64_t cp = layout.context_parallel_size;
    if (cp == 1 || layout.cp_comm_type != "p2p" || !sizes.insert(cp).second) continue;
    layout.hybrid_context_parallel = true;
    layout.max_seqlen_per_dp_cp_rank = ceil_div(data.seq_length, cp);
    hybrids.push_back(layout);
  }
  layouts.insert(layouts.end(), hybrids.begin(), hybrids.end());
}

// Layouts whose numbers are meant to differ.
std::string why_incomparable(const GptConfig& model, const ParallelConfig& parallel, int num_ranks) {
  if (model.moe.has_experts() && model.moe.router_load_balancing_type == "global_aux_loss" &&
      mesh_shape(parallel, num_ranks).dp > 1)
    return "moe_router_load_balancing_type global_aux_loss counts the microbatches of all data-parallel "
           "ranks "
           "at a time, one rank those before it";
  if (model.moe.has_experts() && model.moe.expert_rank_capacity_factor > 0 &&
      parallel.expert_model_parallel_size > 1)
    return "moe_expert_rank_capacity_factor may drop choices at ranks of experts, as one rank never does";
  const bool shares_tokens = parallel.sequence_parallel || parallel.context_parallel_size > 1;
  if (!model.moe.has_experts() || model.moe.expert_capacity_factor == 0 || !shares_tokens) return "";
  return "moe_expert_capacity_factor counts the tokens of a rank, and this layout shares those of a "
         "microbatch between ranks";
}

std::vector<ParallelConfig> verified_layouts(const RunConfig& recipe, const RunConfig& config,
                                             const VerifyOptions& options) {
  std::vector<ParallelConfig> layouts =
      layout_choices(common_part(recipe.parallel), config.model, options.num_ranks);
  add_hybrid_layouts(layouts, config.data);
  if (recipe.parallel.overlap_moe_expert_parallel_comm) overlap_experts(layouts, config.model);
  if (options.max_layouts > 0 && options.max_layouts < static_cast<int64_t>(layouts.size()))
    layouts.resize(static_cast<size_t>(options.max_layouts));
  return layouts;
}

}  // namespace

LayoutVerifier::LayoutVerifier(const RunConfig& recipe, const Vocabulary& vocabulary,
                               const VerifyOptions& options)
    : options_(options),
      config_(verified_config(recipe, options.num_ranks)),
      layouts_(verified_layouts(recipe, config_, options)),
      runner_(
          config_, vocabulary,
          {.num_steps = options.num_steps, .num_threads = options.num_threads, .device = options.device}) {}

LayoutVerdict LayoutVerifier::verdict_of(const ParallelConfig& layout, const LayoutRun& expected,
                                         const RunLayout& run) const {
  LayoutVerdict verdict{.name = layout_name(layout, options_.num_ranks),
                        .deviation = {},
                        .reason = why_incomparable(config_.model, layout, options_.num_ranks)};
  if (!verdict.reason.empty()) return verdict;
  try {
    verdict.deviation = compare_layouts(expected, run(layout), layout_tolerance(config_));
    verdict.has_failed = !verdict.deviation->is_ok();
  } catch (const UsageError& error) {
    verdict.reason = error.what();
  }
  return verdict;
}

void LayoutVerifier::run(const Report& report) const {
  const LayoutRun expected = runner_.run({}, 1);
  for (const ParallelConfig& layout : layouts_) {
    LayoutVerdict verdict;
    try {
      verdict = verdict_of(layout, expected, [&](const ParallelConfig& parallel) {
        return runner_.run(parallel, options_.num_ranks);
      });
    } catch (const Error& error) {
      verdict = {.name = layout_name(layout, options_.num_ranks),
                 .deviation = {},
                 .reason = error.what(),
                 .has_failed = true};
    }
    report(verdict, static_cast<int64_t>(layouts_.size()));
  }
}

void LayoutVerifier::run(Communicator& host, Device device, const Report& report) const {
  LayoutRun expected;
  if (host.rank() == 0) expected = runner_.run_rank({}, *make_self_communicator(), device);
  for (const ParallelConfig& layout : layouts_) {
    LayoutVerdict verdict;
    try {
      verdict = verdict_of(layout, expected, [&](const ParallelConfig& parallel) {
        return runner_.run_rank(parallel, host, device);
      });
    } catch (const PeerFailure&) {
      throw;
    } catch (const Error& error) {
      fail("layout {}: {}", layout_name(layout, options_.num_ranks), error.what());
    }
    if (host.rank() == 0) report(verdict, static_cast<int64_t>(layouts_.size()));
  }
}

}  // namespace megalith
