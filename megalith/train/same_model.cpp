#include "megalith/train/same_model.h"

#include "megalith/base/error.h"

namespace megalith {

void check_same_model(const GptConfig& stored, const GptConfig& here, const std::string& place) {
  const auto hold = [&](const char* key, const auto& before, const auto& now) {
    MG_CHECK(before == now, "{}: {} is {} there and {} in this recipe: the checkpoint is of another model",
             place, key, before, now);
  };
  hold("num_attention_heads", stored.num_attention_heads, here.num_attention_heads);
  hold("num_query_groups", stored.query_groups(), here.query_groups());
  hold("position_embedding_type", stored.position_embedding_type, here.position_embedding_type);
  hold("rotary_percent", stored.rotary_percent, here.rotary_percent);
  hold("normalization", stored.normalization, here.normalization);
  hold("qk_layernorm", stored.qk_layernorm, here.qk_layernorm);
  hold("softmax_type", stored.softmax_type, here.softmax_type);
  hold("swiglu", stored.swiglu, here.swiglu);
  hold("squared_relu", stored.squared_relu, here.squared_relu);
  hold("moe_router_score_function", stored.moe.router_score_function, here.moe.router_score_function);
  hold("moe_router_topk", stored.moe.router_topk, here.moe.router_topk);
}

}  // namespace megalith
