#include "megalith/train/shrink.h"

#include <algorithm>

#include "megalith/base/math.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {

// The same layers with and without experts in the same order, as many as are left.
std::string shortened_pattern(const MoeConfig& moe, int64_t old_layers, int64_t new_layers) {
  const std::vector<bool> layers = moe.expert_layers(old_layers);
  std::vector<std::string> marks;
  for (int64_t i = 0; i < new_layers; ++i)
    marks.push_back(layers[static_cast<size_t>(i % old_layers)] ? "1" : "0");
  return "[" + join(marks, ",") + "]";
}

void shrink_experts(MoeConfig& moe, int64_t ranks) {
  moe.num_experts = 2 * ranks;
  moe.ffn_hidden_size = round_up<int64_t>(16, ranks);
  if (moe.shared_expert_intermediate_size > 0)
    moe.shared_expert_intermediate_size = round_up<int64_t>(24, ranks);
  moe.router_topk = std::min<int64_t>(moe.router_topk, 2);
  if (moe.router_num_groups > 0) {
    moe.router_topk = moe.router_num_groups = 2;
    moe.router_group_topk = 1;
  }
}

}  // namespace

RunConfig shrink(const RunConfig& config, int num_ranks) {
  const int64_t ranks = std::max(num_ranks, 2);
  RunConfig small = config;
  GptConfig& model = small.model;
  const bool is_grouped = model.query_groups() < model.num_attention_heads;
  const int64_t old_layers = model.num_layers;
  model.num_layers = 2 * ranks;  // two chunks for each of as many pipeline ranks
  model.hidden_size = 32;
  model.kv_channels = 8;
  model.num_query_groups = ranks;
  model.num_attention_heads = is_grouped ? 2 * ranks : ranks;
  model.ffn_hidden_size = round_up<int64_t>(48, ranks);
  model.vocab_size = 91;
  model.make_vocab_size_divisible_by = ranks;
  model.init_method_std = 0.1;  // as large against a row of the residual stream as 0.02 is in a wide model
  if (model.moe.has_experts()) {
    model.moe.layer_freq = shortened_pattern(model.moe, old_layers, model.num_layers);
    shrink_experts(model.moe, ranks);
  }
  small.data.seq_length = round_up<int64_t>(16, 2 * ranks);
  model.max_position_embeddings = small.data.seq_length;
  small.data.data_path.clear();
  small.data.train_data_path.clear();
  small.data.valid_data_path.clear();
  small.data.test_data_path.clear();
  small.data.mock_data = true;
  small.data.split = "100,0,0";
  return small;
}

}  // namespace megalith
