// defines: GptModel::decode_stack_for

#include "megalith/models/gpt/gpt_model.h"

namespace megalith {

std::optional<DecodeStack> GptModel::decode_stack_for(const ForwardContext& context,
                                                      const Tensor& ids) const {
  if (context.cache == nullptr || !context.cache->device_length().defined() || ids.numel() != 1) return {};
  if (mesh_->world().size() != 1 || position_embeddings_ != nullptr || !rotary_.cos.defined()) return {};
  DecodeStack stack{.num_heads = config_.num_attention_heads,
                    .eps = config_.norm_epsilon,
                    .embedding = word_embeddings_->data,
                    .layers = {},
                    .final_norm = final_norm_->weights().weight->data,
                    .head = output_weight_->data,
                    .cos = rotary_.cos,
                    .sin = rotary_.sin,
                    .id = ids,
                    .position = context.positions,
                    .first_key = context.first_key.view({1}),
                    .length = context.cache->device_length(),
                    .logits = {}};
  for (const Chunk& chunk : chunks_) {
    for (const TransformerLayer& layer : chunk.layers) {
      std::optional<DecodeLayer> each = layer.decode_layer(*context.cache);
      if (!each) return {};
      stack.layers.push_back(std::move(*each));
    }
  }
  return stack;
}

}  // namespace megalith
