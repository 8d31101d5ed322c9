#include "megalith/train/memory_plan.h"

#include <algorithm>

#include "megalith/models/gpt/gpt_flops.h"
#include "megalith/ops/cross_entropy.h"

namespace megalith {
namespace {

bool recomputes(const TrainConfig& train, const char* module) {
  return train.recompute_granularity == "selective" &&
         std::find(train.recompute_modules.begin(), train.recompute_modules.end(), module) !=
             train.recompute_modules.end();
}

// Bytes that one layer keeps of one token.
int64_t layer_bytes(const RunConfig& config, int64_t element_bytes) {
  const GptConfig& model = config.model;
  const int64_t h = model.hidden_size, f = model.ffn_size();
  const int64_t q = model.head_dim() * model.num_attention_heads,
                kv = model.head_dim() * model.query_groups();
  const int64_t fc1 = is_gated(model.activation()) ? 2 * f : f;
  int64_t elements = 2 * h + (q + 2 * kv) + q + fc1;
  if (!recomputes(config.train, "layernorm")) elements += 2 * h;
  if (!recomputes(config.train, "mlp_act")) elements += f;
  const int64_t statistics =
      4 * (model.num_attention_heads + (model.norm_kind() == NormKind::kLayerNorm ? 4 : 2));
  return elements * element_bytes + statistics;
}

}  // namespace

MemoryPlan plan_memory(const RunConfig& config) {
  const GptConfig& model = config.model;
  const int64_t count = count_gpt_parameters(model).total();
  const auto element_bytes = static_cast<int64_t>(size_of(model.dtype()));
  const int64_t tokens = config.train.micro_batch_size * config.data.seq_length;
  const int64_t h = model.hidden_size;

  MemoryPlan plan{.parameters = count * element_bytes,
                  .gradients = 4 * count,
                  .optimizer = (model.bf16 ? 12 : 8) * count};
  const int64_t layer = layer_bytes(config, element_bytes);
  const bool is_full = config.train.recompute_granularity == "full";
  const int64_t layers = is_full ? model.num_layers * h * element_bytes : model.num_layers * layer;
  // The head: its logits chunk by chunk, its input, the gradient of its input; the final norm's input.
  const int64_t logits =
      cross_entropy_chunk_rows(tokens, model.padded_vocab_size()) * model.padded_vocab_size();
  plan.activations = tokens * layers + std::max(logits * element_bytes + tokens * 3 * h * element_bytes,
                                                tokens * ((is_full ? layer : 0) + 2 * h * element_bytes));
  return plan;
}

}  // namespace megalith
