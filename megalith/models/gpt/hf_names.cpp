#include "megalith/models/gpt/hf_names.h"

#include <fmt/format.h>

#include "megalith/models/gpt/hf_config.h"

namespace megalith {
namespace {

class NameList {
 public:
  NameList(const GptConfig& config, HfArchitecture architecture)
      : config_(config),
        architecture_(architecture),
        has_experts_(config.moe.expert_layers(config.num_layers)) {}

  /// Hugging Face's `name` holds these rows of our `parameter`.
  void add(std::string name, std::string parameter, int64_t row_begin, int64_t row_end,
           HfLayout layout = HfLayout::kSame) {
    tensors_.push_back({std::move(name), std::move(parameter), row_begin, row_end, layout});
  }

  void add_llama() {
    add("model.embed_tokens.weight", "embedding.word_embeddings.weight", 0, config_.vocab_size);
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      const std::string theirs = fmt::format("model.layers.{}", layer);
      const std::string ours = fmt::format("decoder.layers.{}", layer);
      add_llama_attention(theirs, ours);
      if (has_experts_[static_cast<size_t>(layer)])
        add_experts(theirs, ours + ".mlp");
      else
        add_gated_mlp(theirs + ".mlp", ours + ".mlp");
    }
    add("model.norm.weight", "decoder.final_layernorm.weight", 0, config_.hidden_size);
    add_head();
  }

  void add_gpt2() {
    add("transformer.wte.weight", "embedding.word_embeddings.weight", 0, config_.vocab_size);
    add("transformer.wpe.weight", "embedding.position_embeddings.weight", 0, config_.max_position_embeddings);
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      add_gpt2_layer(fmt::format("transformer.h.{}", layer), fmt::format("decoder.layers.{}", layer));
    }
    add_norm("transformer.ln_f", "decoder.final_layernorm");
    add_head();
  }

  std::vector<HfTensor> take() { return std::move(tensors_); }

 private:
  void add_head() {
    if (config_.untie_embeddings_and_output_weights) {
      add("lm_head.weight", "output_layer.weight", 0, config_.vocab_size);
    }
  }

  void add_llama_attention(const std::string& theirs, const std::string& ours) {
    const int64_t q = config_.num_attention_heads * config_.head_dim();
    const int64_t kv = config_.query_groups() * config_.head_dim();
    add(theirs + ".input_layernorm.weight", ours + ".input_layernorm.weight", 0, config_.hidden_size);
    const std::string attention = theirs + ".self_attn", qkv = ours + ".self_attention.linear_qkv";
    const bool has_qkv_bias = config_.add_bias_linear || config_.add_qkv_bias;
    add_linear(attention + ".q_proj", qkv, 0, q, has_qkv_bias);
    add_linear(attention + ".k_proj", qkv, q, q + kv, has_qkv_bias);
    add_linear(attention + ".v_proj", qkv, q + kv, q + 2 * kv, has_qkv_bias);
    add_linear(attention + ".o_proj", ours + ".self_attention.linear_proj", 0, config_.hidden_size,
               config_.add_bias_linear);
    if (config_.qk_layernorm) {
      add(attention + ".q_norm.weight", ours + ".self_attention.q_layernorm.weight", 0, config_.head_dim());
      add(attention + ".k_norm.weight", ours + ".self_attention.k_layernorm.weight", 0, config_.head_dim());
    }
    add(theirs + ".post_attention_layernorm.weight", ours + ".pre_mlp_layernorm.weight", 0,
        config_.hidden_size);
  }

  void add_gated_mlp(const std::string& theirs, const std::string& ours) {
    const int64_t ffn = config_.ffn_size();
    add_linear(theirs + ".gate_proj", ours + ".linear_fc1", 0, ffn, config_.add_bias_linear);
    add_linear(theirs + ".up_proj", ours + ".linear_fc1", ffn, 2 * ffn, config_.add_bias_linear);
    add_linear(theirs + ".down_proj", ours + ".linear_fc2", 0, config_.hidden_size, config_.add_bias_linear);
  }

  void add_experts(const std::string& layer, const std::string& ours) {
    const bool is_mixtral = architecture_ == HfArchitecture::kMixtral;
    const std::string theirs = layer + (is_mixtral ? ".block_sparse_moe" : ".mlp");
    const int64_t ffn = config_.expert_ffn_size();
    add(theirs + ".gate.weight", ours + ".router.weight", 0, config_.moe.num_experts);
    for (int64_t e = 0; e < config_.moe.num_experts; ++e) {
      const std::string expert = fmt::format("{}.experts.{}.", theirs, e);
      const std::string fc1 = fmt::format("{}.experts.linear_fc1.weight{}", ours, e);
      const std::string fc2 = fmt::format("{}.experts.linear_fc2.weight{}", ours, e);
      add(expert + (is_mixtral ? "w1.weight" : "gate_proj.weight"), fc1, 0, ffn);
      add(expert + (is_mixtral ? "w3.weight" : "up_proj.weight"), fc1, ffn, 2 * ffn);
      add(expert + (is_mixtral ? "w2.weight" : "down_proj.weight"), fc2, 0, config_.hidden_size);
    }
  }

  void add_gpt2_layer(const std::string& theirs, const std::string& ours) {
    const int64_t hidden = config_.hidden_size;
    add_norm(theirs + ".ln_1", ours + ".input_layernorm");
    add_conv1d(theirs + ".attn.c_attn", ours + ".self_attention.linear_qkv", 3 * hidden);
    add_conv1d(theirs + ".attn.c_proj", ours + ".self_attention.linear_proj", hidden);
    add_norm(theirs + ".ln_2", ours + ".pre_mlp_layernorm");
    add_conv1d(theirs + ".mlp.c_fc", ours + ".mlp.linear_fc1", config_.ffn_size());
    add_conv1d(theirs + ".mlp.c_proj", ours + ".mlp.linear_fc2", hidden);
  }

  void add_linear(const std::string& theirs, const std::string& ours, int64_t begin, int64_t end,
                  bool has_bias) {
    add(theirs + ".weight", ours + ".weight", begin, end);
    if (has_bias) add(theirs + ".bias", ours + ".bias", begin, end);
  }
  void add_conv1d(const std::string& theirs, const std::string& ours, int64_t rows) {
    add(theirs + ".weight", ours + ".weight", 0, rows, HfLayout::kTransposed);
    add(theirs + ".bias", ours + ".bias", 0, rows);
  }
  void add_norm(const std::string& theirs, const std::string& ours) {
    add(theirs + ".weight", ours + ".weight", 0, config_.hidden_size);
    add(theirs + ".bias", ours + ".bias", 0, config_.hidden_size);
  }

  const GptConfig& config_;
  HfArchitecture architecture_;
  std::vector<bool> has_experts_;
  std::vector<HfTensor> tensors_;
};

}  // namespace

std::vector<HfTensor> hf_tensors(const GptConfig& config) {
  const HfArchitecture architecture = hf_architecture(config);
  NameList names(config, architecture);
  architecture == HfArchitecture::kGpt2 ? names.add_gpt2() : names.add_llama();
  return names.take();
}

}  // namespace megalith
