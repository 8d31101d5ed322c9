// Sequences shared by GPUs: packed documents of all lengths, sliding windows, two levels of ranks, as few
// ranks for a document as it needs. All compute what one GPU computes, in f32.
#include <gtest/gtest.h>

#include "tests/data/counting_documents.h"
#include "tests/data/scratch_directory.h"
#include "tests/multi_gpu/gpu_ranks.h"
#include "tests/multi_gpu/layout_case.h"

namespace megalith {
namespace {

struct Layout {
  std::string name;
  int num_ranks = 1;
  ParallelConfig parallel;
  bool is_packed = false, has_window = false;
  std::string softmax_type = "vanilla";
};

class GpuContextLayouts : public testing::TestWithParam<Layout> {};

TEST_P(GpuContextLayouts, TenStepsEqualOneGpu) {
  const Layout& layout = GetParam();
  MG_NEED_GPUS(layout.num_ranks);
  const ScratchDirectory folder;
  RunConfig config = layout_config();
  config.model.softmax_type = layout.softmax_type;
  if (layout.has_window) {
    config.model.window_size = {10, 0};
    config.model.window_attn_skip_freq = "3";
  }
  if (layout.is_packed) {
    config.data.mock_data = false;
    config.data.data_path = {folder / "documents"};
    config.data.reset_attention_mask = config.data.reset_position_ids = true;
    write_counting_documents(config.data.data_path.front(), 249);
  }
  expect_equal_to_one_gpu(config, layout.name, layout.num_ranks, layout.parallel);
}

ParallelConfig context(int64_t ranks, const std::string& kind) {
  return {.context_parallel_size = ranks, .cp_comm_type = kind};
}

std::vector<Layout> layouts() {
  std::vector<Layout> all;
  for (const std::string kind : {"p2p", "a2a", "all_gather"}) {
    const std::string name = "Cp2_" + kind;
    all.push_back({"Packed" + name, 2, context(2, kind), true, false});
    all.push_back({"Window" + name, 2, context(2, kind), false, true});
    all.push_back({"PackedWindow" + name, 2, context(2, kind), true, true});
  }
  all.push_back({"SinksCp2_p2p", 2, context(2, "p2p"), false, false, "learnable"});
  all.push_back({"SinksPackedWindowCp2_a2a", 2, context(2, "a2a"), true, true, "learnable"});
  ParallelConfig hybrid = context(2, "p2p");
  hybrid.hybrid_context_parallel = true;
  hybrid.max_seqlen_per_dp_cp_rank = 40;
  all.push_back({"HybridCp2", 2, hybrid, true, false});
  ParallelConfig two_levels = context(4, "a2a+p2p");
  two_levels.hierarchical_context_parallel_sizes = {2, 2};
  all.push_back({"Cp4_a2aXp2p", 4, two_levels, false, false});
  all.push_back({"PackedWindowCp4_a2aXp2p", 4, two_levels, true, true});
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, GpuContextLayouts, testing::ValuesIn(layouts()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace megalith
