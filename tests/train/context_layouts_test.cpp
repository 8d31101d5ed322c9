// Sequences shared by ranks: packed documents of all lengths, sliding windows, two levels of ranks, as few
// ranks for a document as it needs. All compute what one rank computes.
#include <gtest/gtest.h>

#include "tests/data/counting_documents.h"
#include "tests/train/layout_run.h"
#include "tests/train/trainer_fixture.h"

namespace megalith {
namespace {

using testing::LayoutCase;

constexpr const char* kKinds[] = {"p2p", "a2a", "all_gather", "a2a+p2p"};

ParallelConfig context(int64_t ranks, const std::string& kind) {
  ParallelConfig parallel{.context_parallel_size = ranks, .cp_comm_type = kind};
  if (kind == "a2a+p2p") parallel.hierarchical_context_parallel_sizes = {2, ranks / 2};
  return parallel;
}

ParallelConfig hybrid(int64_t ranks, int64_t max_seqlen) {
  ParallelConfig parallel = context(ranks, "p2p");
  parallel.hybrid_context_parallel = true;
  parallel.max_seqlen_per_dp_cp_rank = max_seqlen;
  return parallel;
}

enum class Rows { kWhole, kPacked };

struct ContextCase {
  LayoutCase layout;
  Rows rows = Rows::kWhole;
};

class ContextLayouts : public ::testing::TestWithParam<ContextCase> {};

// Of all tests, so that they share the run of one rank.
std::string documents() {
  static const testing::RunFolder folder;
  static const std::string prefix = [] {
    const std::string path = folder / "documents";
    write_counting_documents(path, static_cast<int32_t>(testing::layout_tokens().eod));
    return path;
  }();
  return prefix;
}

TEST_P(ContextLayouts, TenStepsEqualOneRank) {
  MG_NEED_RANKS(GetParam().layout.num_ranks);
  LayoutCase layout = GetParam().layout;
  if (GetParam().rows == Rows::kPacked) layout.documents = documents();
  testing::expect_equal_to_one_rank(layout);
}

std::vector<ContextCase> context_cases() {
  std::vector<ContextCase> cases;
  const std::vector<int64_t> window = {10, 0};
  const auto add = [&](const std::string& name, int num_ranks, const ParallelConfig& parallel, Rows rows,
                       const std::vector<int64_t>& tokens = {}) {
    cases.push_back({{.name = name, .num_ranks = num_ranks, .parallel = parallel, .window = tokens}, rows});
  };
  const auto short_name = [](std::string kind) {
    std::replace_if(
        kind.begin(), kind.end(), [](char c) { return c == '+' || c == '_'; }, 'X');
    return kind;
  };
  for (const std::string kind : kKinds) {
    const std::string name = "Cp4_" + short_name(kind);
    add("Packed" + name, 4, context(4, kind), Rows::kPacked);
    add("Window" + name, 4, context(4, kind), Rows::kWhole, window);
    add("PackedWindow" + name, 4, context(4, kind), Rows::kPacked, window);
  }
  for (const std::string kind : {"p2p", "a2a", "all_gather"})
    add("PackedWindowCp2_" + short_name(kind), 2, context(2, kind), Rows::kPacked, window);
  add("PackedCp2_p2p", 2, context(2, "p2p"), Rows::kPacked);
  add("Cp4_a2aXp2p", 4, context(4, "a2a+p2p"), Rows::kWhole);
  // Two places before it some ranks see keys and others do not.
  add("PackedWindowCp8_p2p", 8, context(8, "p2p"), Rows::kPacked, window);
  add("WindowDp2", 2, {}, Rows::kWhole, window);
  add("WindowOfOne", 4, context(4, "p2p"), Rows::kWhole, {0, 0});
  add("HybridCp2", 2, hybrid(2, 40), Rows::kPacked);
  add("HybridCp4", 4, hybrid(4, 16), Rows::kPacked);
  add("HybridCp4Window", 4, hybrid(4, 8), Rows::kPacked, window);
  ParallelConfig mixed = hybrid(2, 20);
  mixed.pipeline_model_parallel_size = 2;
  mixed.pipeline_schedule = "interleaved";
  mixed.tensor_model_parallel_size = 2;
  mixed.sequence_parallel = true;
  add("HybridTp2SpPp2Cp2", 8, mixed, Rows::kPacked);
  const auto add_sinks = [&](const std::string& name, int num_ranks, const ParallelConfig& layout, Rows rows,
                             const std::vector<int64_t>& tokens = {}) {
    add("Sinks" + name, num_ranks, layout, rows, tokens);
    cases.back().layout.softmax_type = "learnable";
  };
  add_sinks("Tp2", 2, {.tensor_model_parallel_size = 2}, Rows::kWhole);
  add_sinks("Fsdp2", 2, {.data_parallel_sharding_strategy = "optim_grads_params"}, Rows::kWhole);
  for (const char* kind : {"p2p", "a2a", "all_gather"})
    add_sinks(fmt::format("Cp2_{}", kind), 2, context(2, kind), Rows::kWhole);
  add_sinks("PackedWindowCp2_p2p", 2, context(2, "p2p"), Rows::kPacked, window);
  add_sinks("PackedCp2_all_gather", 2, context(2, "all_gather"), Rows::kPacked);
  add_sinks("PackedCp4_a2aXp2p", 4, context(4, "a2a+p2p"), Rows::kPacked);
  ParallelConfig both = context(2, "a2a");
  both.tensor_model_parallel_size = 2;
  both.sequence_parallel = true;
  add_sinks("Tp2SpCp2_a2a", 4, both, Rows::kWhole, window);
  both.cp_comm_type = "p2p";
  both.pipeline_model_parallel_size = 2;
  add_sinks("Tp2SpCp2Pp2_p2p", 8, both, Rows::kWhole);
  // Experts on ranks that share packed documents; every token is routed once, wherever it lies.
  MoeConfig moe;
  moe.num_experts = 8;
  moe.layer_freq = "2";
  moe.ffn_hidden_size = moe.shared_expert_intermediate_size = 16;
  moe.aux_loss_coeff = 0.01;
  for (const bool is_hybrid : {false, true}) {
    ParallelConfig experts = is_hybrid ? hybrid(4, 16) : context(4, "p2p");
    experts.expert_model_parallel_size = 2;
    cases.push_back({{.name = is_hybrid ? "MoeHybridCp4Ep2" : "MoePackedCp4Ep2",
                      .num_ranks = 4,
                      .parallel = experts,
                      .moe = moe},
                     Rows::kPacked});
  }
  ParallelConfig tensor = context(2, "a2a");
  tensor.tensor_model_parallel_size = tensor.expert_model_parallel_size = 2;
  tensor.sequence_parallel = true;
  cases.push_back(
      {{.name = "MoePackedTp2SpCp2Ep2", .num_ranks = 4, .parallel = tensor, .moe = moe}, Rows::kPacked});
  ContextCase gpt2{{.name = "Gpt2PackedCp4_p2p",
                    .num_ranks = 4,
                    .parallel = context(4, "p2p"),
                    .is_gpt2 = true,
                    .recompute = "full",
                    .is_per_token = true},
                   Rows::kPacked};
  cases.push_back(gpt2);
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, ContextLayouts, ::testing::ValuesIn(context_cases()),
                         [](const auto& instance) { return instance.param.layout.name; });

}  // namespace
}  // namespace megalith
