#include "megalith/plan/layout_search.h"

#include <algorithm>
#include <optional>

#include "megalith/base/error.h"

namespace megalith {
namespace {

std::vector<int64_t> divisors(int64_t number, int64_t limit) {
  std::vector<int64_t> all;
  for (int64_t divisor = 1; divisor <= std::min(number, limit); ++divisor)
    if (number % divisor == 0) all.push_back(divisor);
  return all;
}

std::vector<std::string> schedules_for(int64_t pp) {
  if (pp == 1) return {"1f1b"};
  return {"1f1b", "interleaved", "zb-h1", "zb-v"};
}

std::vector<std::string> recompute_from(const std::string& granularity) {
  const std::vector<std::string> all = {"none", "selective", "full"};
  return {std::find(all.begin(), all.end(), granularity), all.end()};
}

// The recipe's groups of ranks, where there can be several.
void share_context(ParallelConfig& parallel, int64_t ranks) {
  parallel.context_parallel_size = ranks;
  std::vector<int64_t>& sizes = parallel.hierarchical_context_parallel_sizes;
  if (sizes.empty()) return;
  if (ranks > sizes[0] && ranks % sizes[0] == 0) {
    sizes[1] = ranks / sizes[0];
  } else {
    parallel.cp_comm_type = "p2p";
    sizes.clear();
  }
}

// Every mesh that the numbers allow; what the model does not is left to estimate_layout().
std::vector<RunConfig> meshes(const RunConfig& recipe, int world, const Cluster& cluster) {
  constexpr int64_t kLeastTokens = 4096;  // of a sequence on each context-parallel rank
  const int64_t most_cp = std::max<int64_t>(1, recipe.data.seq_length / kLeastTokens);
  std::vector<RunConfig> all;
  const GptConfig& model = recipe.model;
  for (const int64_t tp : divisors(world, std::min(cluster.gpus_per_node, model.query_groups()))) {
    for (const int64_t pp : divisors(world / tp, model.num_layers)) {
      for (const int64_t cp : divisors(world / tp / pp, most_cp)) {
        const int64_t experts = std::max<int64_t>(1, model.moe.num_experts);
        for (const int64_t ep : divisors(world / tp / pp, experts)) {
          for (const std::string& schedule : schedules_for(pp)) {
            RunConfig config = recipe;
            config.train.global_batch_size = recipe.train.batch_size();  // also with other microbatches
            ParallelConfig& parallel = config.parallel;
            parallel.tensor_model_parallel_size = tp;
            parallel.sequence_parallel = tp > 1;
            parallel.pipeline_model_parallel_size = pp;
            parallel.pipeline_schedule = schedule;
            parallel.virtual_pipeline_model_parallel_size = schedule == "interleaved" ? 2 : 0;
            parallel.pipeline_model_parallel_layout.clear();
            share_context(parallel, cp);
            parallel.expert_model_parallel_size = ep;
            parallel.expert_tensor_parallel_size = model.moe.has_experts() ? 1 : 0;
            all.push_back(config);
          }
        }
      }
    }
  }
  return all;
}

class Search {
 public:
  Search(int world, const Cluster& cluster) : world_(world), cluster_(cluster) {}

  // Keeps the fastest variant of a mesh.
  void try_mesh(const RunConfig& mesh) {
    std::optional<LayoutEstimate> best;
    for (const char* strategy : {"no_shard", "optim", "optim_grads_params"}) {
      for (const int64_t micro : {1, 2, 4, 8}) {
        for (const std::string& recompute : recompute_from(mesh.train.recompute_granularity)) {
          RunConfig config = mesh;
          config.parallel.data_parallel_sharding_strategy = strategy;
          config.train.micro_batch_size = micro;
          config.train.recompute_granularity = recompute;
          std::optional<LayoutEstimate> estimate = try_layout(config);
          if (!estimate) break;  // recompute does not change what fits the numbers
          ++result_.num_tried;
          if (!estimate->fits) continue;
          ++result_.num_fitting;
          if (!best || estimate->step_seconds < best->step_seconds) best = std::move(estimate);
          break;  // more recompute is slower
        }
      }
    }
    if (best) result_.best.push_back(std::move(*best));
  }

  SearchResult finish(size_t num_best) {
    std::stable_sort(
        result_.best.begin(), result_.best.end(),
        [](const LayoutEstimate& a, const LayoutEstimate& b) { return a.step_seconds < b.step_seconds; });
    if (result_.best.size() > num_best) result_.best.resize(num_best);
    return std::move(result_);
  }

 private:
  std::optional<LayoutEstimate> try_layout(const RunConfig& config) {
    try {
      return estimate_layout(config, world_, cluster_);
    } catch (const UsageError& error) {  // this layout cannot be
      if (result_.refusal.empty()) result_.refusal = error.what();
      return std::nullopt;
    }
  }

  int world_;
  Cluster cluster_;
  SearchResult result_;
};

}  // namespace

SearchResult search_layouts(const RunConfig& recipe, int world, const Cluster& cluster, size_t num_best,
                            const std::function<void(int64_t, int64_t)>& on_progress) {
  const std::vector<RunConfig> candidates = meshes(recipe, world, cluster);
  Search search(world, cluster);
  for (size_t i = 0; i < candidates.size(); ++i) {
    search.try_mesh(candidates[i]);
    on_progress(static_cast<int64_t>(i + 1), static_cast<int64_t>(candidates.size()));
  }
  return search.finish(num_best);
}

}  // namespace megalith
