#include "megalith/plan/rank_memory.h"

#include <algorithm>

#include "megalith/base/math.h"
#include "megalith/ops/cross_entropy.h"

namespace megalith {
namespace {

bool recomputes(const TrainConfig& train, const char* module) {
  return train.recompute_granularity == "selective" &&
         std::find(train.recompute_modules.begin(), train.recompute_modules.end(), module) !=
             train.recompute_modules.end();
}

// For which the experts of a rank have room: those of an even load, or moe_expert_rank_capacity_factor times
// as many, but not more than can come.
double rows_of_token(const MoeConfig& moe, int64_t ep) {
  const auto topk = static_cast<double>(moe.router_topk);
  const auto most = static_cast<double>(ep * std::min(moe.router_topk, moe.num_experts / ep));
  return std::min(std::max(topk, topk * moe.expert_rank_capacity_factor), std::max(most, topk));
}

}  // namespace

int64_t layer_bytes(const RunConfig& config, const MeshShape& shape, bool is_moe) {
  const GptConfig& model = config.model;
  const int64_t tp = shape.tp, rows = config.parallel.sequence_parallel ? tp : 1;
  const int64_t h = model.hidden_size;
  const int64_t q = model.head_dim() * model.num_attention_heads,
                kv = model.head_dim() * model.query_groups();
  const int64_t gate = is_gated(model.activation()) ? 2 : 1;
  const double copies = is_moe ? rows_of_token(model.moe, shape.ep) : 0;
  const int64_t width = is_moe ? static_cast<int64_t>(copies * static_cast<double>(model.expert_ffn_size())) +
                                     model.moe.shared_expert_intermediate_size
                               : model.ffn_size();
  int64_t elements = 2 * h / rows + (2 * q + 2 * kv) / tp + gate * width / tp +
                     static_cast<int64_t>(copies * 2 * static_cast<double>(h)) / rows;
  if (!recomputes(config.train, "layernorm")) elements += 2 * h / rows;
  if (!recomputes(config.train, "mlp_act")) elements += width / tp;
  const int64_t statistics =
      4 * (model.num_attention_heads / tp + (model.norm_kind() == NormKind::kLayerNorm ? 4 : 2) / rows);
  return elements * static_cast<int64_t>(size_of(model.dtype())) + statistics;
}

namespace {

int64_t activation_bytes(const RunConfig& config, const MeshShape& shape, const PipelinePlan& pipeline,
                         int rank) {
  const GptConfig& model = config.model;
  const auto element_bytes = static_cast<int64_t>(size_of(model.dtype()));
  const int64_t tokens = config.train.micro_batch_size * config.data.seq_length / shape.cp;
  const int64_t rows = config.parallel.sequence_parallel ? shape.tp : 1;
  const int64_t h_bytes = model.hidden_size * element_bytes / rows;
  const bool is_full = config.train.recompute_granularity == "full";
  int64_t kept = 0, largest_layer = 0;  // bytes of a token in all chunks of the rank
  bool has_loss = false;
  for (const StageLayers& stage : pipeline.stages_of(rank)) {
    for (int64_t layer = stage.first; layer < stage.first + stage.count; ++layer) {
      const int64_t bytes = layer_bytes(config, shape, has_experts(model, layer));
      largest_layer = std::max(largest_layer, bytes);
      if (!is_on_host(config, stage, layer)) kept += is_full ? h_bytes : bytes;
    }
    has_loss = has_loss || stage.has_loss;
  }
  const int64_t in_flight = std::max(1, pipeline.peak_in_flight[static_cast<size_t>(rank)]);
  int64_t bytes = tokens * kept * in_flight / pipeline.schedule.num_chunks;
  // The head: its logits chunk by chunk, its input, the gradient of its input; the final norm's input.
  const int64_t vocab = model.padded_vocab_size() / shape.tp;
  const int64_t head = cross_entropy_chunk_rows(tokens, vocab) * vocab * element_bytes +
                       tokens * (h_bytes + 2 * h_bytes * (rows > 1 ? rows : 1));
  const int64_t backward = tokens * ((is_full ? largest_layer : 0) + 2 * h_bytes);
  bytes += has_loss ? std::max(head, backward) : backward;
  return bytes;
}

}  // namespace

RankMemory rank_memory(const RunConfig& config, const MeshShape& shape, const PipelinePlan& pipeline,
                       int pipeline_rank) {
  const RankParameters held = rank_parameters(config.model, shape, pipeline, pipeline_rank);
  const std::string& strategy = config.parallel.data_parallel_sharding_strategy;
  const auto instances = config.parallel.num_distributed_optimizer_instances;
  const int64_t dense_shards = strategy == "no_shard" ? 1 : shape.dp * shape.cp / instances;
  const int64_t expert_shards = strategy == "no_shard" ? 1 : std::max<int64_t>(1, shape.edp / instances);
  const int64_t whole = held.total();
  const int64_t share = ceil_div(held.dense, dense_shards) + ceil_div(held.experts, expert_shards);
  // Units in flight: the one in use, and the next one on its way.
  const int64_t in_flight = std::min(whole, 2 * (held.largest_dense + held.largest_experts));
  const bool shards_gradients = strategy == "optim_grads" || strategy == "optim_grads_params";
  const bool shards_parameters = strategy == "optim_grads_params";
  const auto element_bytes = static_cast<int64_t>(size_of(config.model.dtype()));
  const auto gradient_bytes = static_cast<int64_t>(size_of(config.optim.gradient_dtype()));
  return {.parameters = element_bytes * (shards_parameters ? share + in_flight : whole),
          .gradients = gradient_bytes * (shards_gradients ? share + in_flight : whole),
          .optimizer = (config.model.dtype() == DType::kF32 ? 8 : 12) * share,
          .activations = activation_bytes(config, shape, pipeline, pipeline_rank)};
}

}  // namespace megalith
