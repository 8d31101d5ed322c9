#include "megalith/train/layout_choices.h"

#include <algorithm>
#include <set>
#include <utility>

#include "megalith/base/error.h"
#include "megalith/parallel/mesh_shape.h"

namespace megalith {
namespace {

// The words that a text option of the layout accepts.
std::vector<std::string> allowed_words(const std::string& option) {
  ParallelConfig config;
  FieldList list;
  declare_fields(config, list);
  for (const Field& field : list.fields())
    if (field.name == option) return field.info.allowed;
  fail("there is no option {}", option);
}

std::vector<int64_t> divisors(int64_t number) {
  std::vector<int64_t> found;
  for (int64_t d = 1; d <= number; ++d)
    if (number % d == 0) found.push_back(d);
  return found;
}

// Each choice in `configs` once with every way to set one more thing.
template <class Value, class Set>
void multiply(std::vector<ParallelConfig>& configs, const std::vector<Value>& values, Set set) {
  std::vector<ParallelConfig> all;
  for (const ParallelConfig& config : configs) {
    for (const Value& value : values) {
      all.push_back(config);
      set(all.back(), value);
    }
  }
  configs = std::move(all);
}

// How data-parallel ranks share: a strategy and its instances.
using Sharing = std::pair<std::string, int64_t>;

std::vector<Sharing> sharings(int64_t num_holders) {
  std::vector<Sharing> all;
  for (const std::string& strategy : allowed_words("data_parallel_sharding_strategy")) {
    all.emplace_back(strategy, 1);
    if (num_holders == 1) return all;
    if (strategy != "no_shard" && num_holders > 2 && num_holders % 2 == 0) all.emplace_back(strategy, 2);
  }
  return all;
}

constexpr const char* kHierarchical = "a2a+p2p";

// Two levels need more than one rank each.
std::vector<std::string> context_kinds(int64_t num_ranks) {
  std::vector<std::string> kinds = allowed_words("cp_comm_type");
  if (num_ranks < 4 || num_ranks % 2 != 0) std::erase(kinds, kHierarchical);
  return kinds;
}

// Every layout of one mesh.
std::vector<ParallelConfig> kinds_of(const ParallelConfig& mesh, int64_t num_ranks, const GptConfig& model) {
  std::vector<ParallelConfig> all = {mesh};
  const int64_t tp = mesh.tensor_model_parallel_size, pp = mesh.pipeline_model_parallel_size;
  const bool has_experts = model.moe.has_experts();
  if (tp > 1)
    // Experts need tokens of their own on every rank.
    multiply(all, has_experts ? std::vector<int>{1} : std::vector<int>{0, 1},
             [](ParallelConfig& c, int value) { c.sequence_parallel = value != 0; });
  if (pp > 1)
    multiply(all, allowed_words("pipeline_schedule"),
             [](ParallelConfig& c, const std::string& value) { c.pipeline_schedule = value; });
  if (mesh.context_parallel_size > 1)
    multiply(all, context_kinds(mesh.context_parallel_size), [](ParallelConfig& c, const std::string& value) {
      c.cp_comm_type = value;
      if (value == kHierarchical) c.hierarchical_context_parallel_sizes = {2, c.context_parallel_size / 2};
    });
  multiply(all, sharings(num_ranks / tp / pp), [](ParallelConfig& c, const Sharing& value) {
    c.data_parallel_sharding_strategy = value.first;
    c.num_distributed_optimizer_instances = value.second;
  });
  if (!has_experts) return all;
  std::vector<std::pair<int64_t, int64_t>> expert_axes;
  for (const int64_t etp : tp > 1 ? std::vector<int64_t>{1, tp} : std::vector<int64_t>{1})
    for (const int64_t ep : divisors(num_ranks / pp / etp)) expert_axes.emplace_back(ep, etp);
  multiply(all, expert_axes, [](ParallelConfig& c, const std::pair<int64_t, int64_t>& value) {
    c.expert_model_parallel_size = value.first;
    c.expert_tensor_parallel_size = value.second;
  });
  // Instances divide the holders of experts, too.
  std::erase_if(all, [&](const ParallelConfig& c) {
    const int64_t holders = num_ranks / pp / c.expert_model_parallel_size / c.expert_tensor_parallel_size;
    return holders % c.num_distributed_optimizer_instances != 0;
  });
  return all;
}

// Pairs of properties, as words.
std::set<std::pair<std::string, std::string>> pairs_of(const ParallelConfig& c) {
  const std::vector<std::string> properties = {
      fmt::format("tp{} pp{} cp{}", c.tensor_model_parallel_size, c.pipeline_model_parallel_size,
                  c.context_parallel_size),
      fmt::format("sp{}", c.sequence_parallel),
      c.pipeline_schedule,
      c.cp_comm_type,
      fmt::format("{}x{}", c.data_parallel_sharding_strategy, c.num_distributed_optimizer_instances),
      fmt::format("ep{} etp{}", c.expert_model_parallel_size, c.expert_tensor_parallel_size)};
  std::set<std::pair<std::string, std::string>> pairs;
  for (size_t i = 0; i < properties.size(); ++i)
    for (size_t j = 0; j < i; ++j) pairs.emplace(properties[j], properties[i]);
  return pairs;
}

}  // namespace

std::string layout_name(const ParallelConfig& c, int num_ranks) {
  std::vector<std::string> words;
  const MeshShape shape = mesh_shape(c, num_ranks);
  const auto axis = [&](const char* name, int size) {
    if (size > 1) words.push_back(fmt::format("{}{}", name, size));
    return size > 1;
  };
  axis("tp", shape.tp);
  if (c.sequence_parallel) words.push_back("sp");
  if (axis("pp", shape.pp) && c.pipeline_schedule != "1f1b") words.push_back(c.pipeline_schedule);
  if (axis("cp", shape.cp) && c.cp_comm_type != "p2p") words.push_back(c.cp_comm_type);
  if (c.hybrid_context_parallel) words.push_back("hybrid");
  axis("dp", shape.dp);
  if (c.data_parallel_sharding_strategy != "no_shard") words.push_back(c.data_parallel_sharding_strategy);
  axis("x", static_cast<int>(c.num_distributed_optimizer_instances));
  axis("ep", shape.ep);
  if (shape.etp != shape.tp) words.push_back(fmt::format("etp{}", shape.etp));
  return words.empty() ? "single" : fmt::format("{}", fmt::join(words, " "));
}

std::vector<ParallelConfig> layout_choices(const ParallelConfig& base, const GptConfig& model,
                                           int num_ranks) {
  std::vector<ParallelConfig> left;
  for (const int64_t tp : divisors(num_ranks))
    for (const int64_t pp : divisors(num_ranks / tp))
      for (const int64_t cp : divisors(num_ranks / tp / pp)) {
        ParallelConfig mesh = base;
        mesh.tensor_model_parallel_size = tp;
        mesh.pipeline_model_parallel_size = pp;
        mesh.context_parallel_size = cp;
        const std::vector<ParallelConfig> kinds = kinds_of(mesh, num_ranks, model);
        left.insert(left.end(), kinds.begin(), kinds.end());
      }
  std::vector<std::set<std::pair<std::string, std::string>>> pairs;
  for (const ParallelConfig& config : left) pairs.push_back(pairs_of(config));

  std::vector<ParallelConfig> chosen;
  while (true) {
    size_t best = 0;
    for (size_t i = 1; i < left.size(); ++i)
      if (pairs[i].size() > pairs[best].size()) best = i;
    if (pairs[best].empty()) return chosen;
    chosen.push_back(left[best]);
    const auto seen = pairs[best];
    for (auto& open : pairs)
      for (const auto& pair : seen) open.erase(pair);
  }
}

}  // namespace megalith
