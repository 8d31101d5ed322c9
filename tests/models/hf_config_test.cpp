#include "megalith/models/gpt/hf_config.h"

#include <random>

#include <gmock/gmock.h>

#include "megalith/base/error.h"

#include "tests/models/hf_fixture.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Json = nlohmann::json;

class HfConfigTest : public HfDirectoryTest {
 protected:
  GptConfig read(const Json& config) const {
    write_text_file(root_ / "config.json", config.dump());
    return read_hf_config(root_);
  }
  GptConfig read_with(const char* model, const Json& changes = Json::object()) const {
    Json config = Json::parse(read_text_file(load_hf_golden(model).directory / "config.json"));
    config.update(changes);
    return read(config);
  }
  void expect_refused(const char* model, const Json& changes, const char* key, const char* rule) const {
    EXPECT_THAT([&] { read_with(model, changes); },
                ThrowsMessage<Error>(AllOf(HasSubstr("config.json"), HasSubstr(key), HasSubstr(rule))))
        << changes;
  }
};

// The published config.json of Llama 3.1 8B, as transformers 4 wrote it.
TEST_F(HfConfigTest, ReadsLlama31) {
  const GptConfig c = read(Json::parse(R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false,
    "attention_dropout": 0.0, "bos_token_id": 128000, "eos_token_id": [128001, 128008], "hidden_act": "silu",
    "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 131072,
    "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
    "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 8.0,
    "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 128256})"));
  EXPECT_EQ(c.num_layers, 32);
  EXPECT_EQ(c.hidden_size, 4096);
  EXPECT_EQ(c.ffn_size(), 14336);
  EXPECT_EQ(c.num_attention_heads, 32);
  EXPECT_EQ(c.query_groups(), 8);
  EXPECT_EQ(c.head_dim(), 128);
  EXPECT_EQ(c.padded_vocab_size(), 128256);
  EXPECT_EQ(c.max_position_embeddings, 131072);
  EXPECT_EQ(c.rotary_base, 500000);
  EXPECT_TRUE(c.use_rope_scaling);
  EXPECT_EQ(c.rope_scaling_factor, 8);
  EXPECT_EQ(c.rope_original_positions, 8192);
  EXPECT_EQ(c.norm_epsilon, 1e-5);
  EXPECT_TRUE(c.bf16);
  EXPECT_TRUE(c.untie_embeddings_and_output_weights);
  EXPECT_FALSE(c.add_bias_linear);
  EXPECT_EQ(c.hidden_dropout, 0);
}

TEST_F(HfConfigTest, KnowsTheFamilies) {
  EXPECT_TRUE(read_with("qwen2").add_qkv_bias);
  EXPECT_FALSE(read_with("qwen2").untie_embeddings_and_output_weights);
  EXPECT_TRUE(read_with("llama_bias").add_bias_linear);
  EXPECT_EQ(read_with("llama3_tied").rope_original_positions, 16);
  EXPECT_EQ(read_with("llama3_tied").head_dim(), 16);
  EXPECT_EQ(read_with("llama", {{"dtype", "bfloat16"}}).dtype(), DType::kBF16);
  const GptConfig gpt2 = read_with("gpt2");
  EXPECT_TRUE(gpt2.has_learned_positions());
  EXPECT_EQ(gpt2.ffn_size(), 256);
  EXPECT_EQ(gpt2.activation(), ActivationKind::kGelu);
  EXPECT_EQ(hf_architecture(gpt2), HfArchitecture::kGpt2);
  EXPECT_TRUE(read_with("qwen3").qk_layernorm);
  EXPECT_EQ(read_with("qwen3", {{"head_dim", nullptr}}).head_dim(), 128) << "transformers' default";

  const GptConfig qwen3_moe = read_with("qwen3_moe");
  EXPECT_EQ(qwen3_moe.moe.layer_freq, "[1,0,1]");
  EXPECT_EQ(qwen3_moe.moe.num_experts, 6);
  EXPECT_EQ(qwen3_moe.expert_ffn_size(), 48);
  EXPECT_TRUE(qwen3_moe.moe.router_pre_softmax);
  EXPECT_FALSE(read_with("qwen3_moe", {{"norm_topk_prob", true}}).moe.router_pre_softmax);
  EXPECT_EQ(read_with("qwen3_moe", {{"decoder_sparse_step", 3}}).moe.layer_freq, "[0,0,1]");
  const GptConfig mixtral = read_with("mixtral");
  EXPECT_EQ(mixtral.moe.num_experts, 4);
  EXPECT_EQ(mixtral.expert_ffn_size(), 160);
  EXPECT_FALSE(mixtral.qk_layernorm);
}

TEST_F(HfConfigTest, WindowsCountTheTokenItself) {
  using Windows = std::vector<int64_t>;
  const auto windows = [&](const char* model, const Json& changes) {
    return read_with(model, changes).attention_windows();
  };
  EXPECT_EQ(windows("mistral_window", Json::object()), (Windows{6, 6}));
  EXPECT_EQ(windows("mistral", {{"sliding_window", 64}}), Windows{63});
  EXPECT_EQ(windows("mixtral", {{"sliding_window", 64}}), (Windows{63, 63}));
  EXPECT_EQ(windows("qwen2_window", Json::object()), (Windows{-1, 4}));
  EXPECT_EQ(windows("qwen2_window", {{"layer_types", nullptr}}), (Windows{-1, 4}));
  EXPECT_EQ(windows("qwen2_window", {{"layer_types", nullptr}, {"max_window_layers", 0}}), (Windows{4, 4}));
  EXPECT_EQ(windows("qwen2_window", {{"layer_types", nullptr}, {"max_window_layers", nullptr}}),
            (Windows{-1, -1}))
      << "transformers' default are 28 layers";
  const Json qwen3_window = {
      {"use_sliding_window", true}, {"sliding_window", 9}, {"layer_types", {"sliding_attention"}}};
  EXPECT_EQ(windows("qwen3", qwen3_window), Windows{8});
  EXPECT_EQ(windows("qwen3_moe", {{"use_sliding_window", true}, {"sliding_window", 9}}), (Windows{8, 8, 8}));
  EXPECT_EQ(windows("qwen2", {{"sliding_window", 64}}), (Windows{-1, -1})) << "use_sliding_window is false";
}

TEST_F(HfConfigTest, NamesWhatItCannotCompute) {
  expect_refused("llama", {{"model_type", "mamba"}}, "model_type",
                 "allowed: llama, mistral, mixtral, qwen2, qwen3, qwen3_moe, gpt2");
  expect_refused("llama", {{"hidden_act", "gelu"}}, "hidden_act", "allowed: silu");
  expect_refused("llama", {{"attention_bias", true}}, "mlp_bias", "the same");
  expect_refused("llama", {{"hidden_size", nullptr}}, "hidden_size", "missing");
  expect_refused("llama", {{"hidden_size", "64"}}, "hidden_size", "not a positive whole number");
  expect_refused("llama", {{"hidden_size", 60}, {"head_dim", nullptr}}, "hidden_size", "multiple");
  expect_refused("llama", {{"num_key_value_heads", 3}}, "num_query_groups 3", "multiple");
  expect_refused("llama", {{"tie_word_embeddings", 1}}, "tie_word_embeddings", "true or false");
  expect_refused("llama", {{"rope_parameters", {{"rope_type", "yarn"}}}}, "rope_type", "default, llama3");
  expect_refused("llama", {{"rope_parameters", {{"rope_type", "llama3"}}}}, "factor", "missing");
  expect_refused("llama", {{"quantization_config", {{"bits", 4}}}}, "quantization_config",
                 "f32, bf16 or f16");
  expect_refused("qwen2", {{"layer_types", {"full_attention", "sliding_attention"}}}, "layer_types",
                 "full_attention");
  expect_refused("mistral", {{"sliding_window", 0}}, "sliding_window", "not a positive whole number");
  expect_refused("mistral", {{"layer_types", {"sliding_attention"}}}, "layer_types",
                 "full_attention in every layer");
  expect_refused("qwen2_window", {{"layer_types", {"sliding_attention"}}}, "layer_types", "each of 2 layers");
  expect_refused("qwen2_window", {{"layer_types", {"full_attention", 1}}}, "layer_types",
                 "full_attention or sliding_attention");
  expect_refused("mixtral", {{"router_jitter_noise", 0.1}}, "router_jitter_noise", "allowed: 0");
  expect_refused("mixtral", {{"num_experts_per_tok", 5}}, "moe_router_topk 5", "num_experts 4");
  expect_refused("qwen3_moe", {{"mlp_only_layers", 1}}, "mlp_only_layers", "a list of layers");
  expect_refused("gpt2", {{"activation_function", "relu"}}, "activation_function", "gelu_new");
  expect_refused("gpt2", {{"scale_attn_by_inverse_layer_idx", true}}, "scale_attn_by_inverse_layer_idx",
                 "false");

  write_text_file(root_ / "config.json", "{");
  EXPECT_THAT([&] { read_hf_config(root_); }, ThrowsMessage<Error>(HasSubstr("config.json: not valid JSON")));
  write_text_file(root_ / "config.json", "[]");
  EXPECT_THAT([&] { read_hf_config(root_); }, ThrowsMessage<Error>(HasSubstr("not a JSON object")));
}

TEST_F(HfConfigTest, ReadsWhatItWrites) {
  for (const char* model : kHfModels) {
    const GptConfig config = read_with(model, {{"torch_dtype", "bfloat16"}});
    const std::string text = to_hf_config(config, {.bos = 1, .eos = {}});
    EXPECT_EQ(Json::parse(text).at("bos_token_id"), 1);
    EXPECT_TRUE(Json::parse(text).at("eos_token_id").is_null());
    const GptConfig again = read(Json::parse(text));
    EXPECT_EQ(to_hf_config(again, {.bos = 1, .eos = {}}), text) << model;
    EXPECT_EQ(again.head_dim(), config.head_dim()) << model;
    EXPECT_EQ(again.add_qkv_bias, config.add_qkv_bias) << model;
    EXPECT_EQ(again.add_bias_linear, config.add_bias_linear) << model;
    EXPECT_EQ(again.use_rope_scaling, config.use_rope_scaling) << model;
    EXPECT_EQ(again.bf16, config.bf16) << model;
    EXPECT_EQ(again.qk_layernorm, config.qk_layernorm) << model;
    EXPECT_EQ(again.attention_windows(), config.attention_windows()) << model;
    EXPECT_EQ(again.moe.num_experts, config.moe.num_experts) << model;
    EXPECT_EQ(again.moe.router_pre_softmax, config.moe.router_pre_softmax) << model;
    EXPECT_EQ(again.moe.expert_layers(again.num_layers), config.moe.expert_layers(config.num_layers))
        << model;
  }
}

TEST_F(HfConfigTest, NamesModelsThatHuggingFaceDoesNotHave) {
  GptConfig config = read_with("llama");
  const auto expect = [&](void (*change)(GptConfig&), const char* key) {
    GptConfig changed = config;
    change(changed);
    EXPECT_THAT([&] { to_hf_config(changed, {}); }, ThrowsMessage<Error>(HasSubstr(key)));
  };
  expect([](GptConfig& c) { c.swiglu = false; }, "swiglu");
  expect([](GptConfig& c) { c.softmax_type = "off-by-one"; }, "softmax_type");
  expect([](GptConfig& c) { c.rotary_percent = 0.5; }, "rotary_percent");
  expect([](GptConfig& c) { c.position_embedding_type = "none"; }, "position_embedding_type");
  expect([](GptConfig& c) { c.qk_layernorm = c.add_qkv_bias = true; }, "add_qkv_bias");
  expect([](GptConfig& c) { c.window_size = {8, 0}, c.add_bias_linear = true; }, "window_size");
  expect(
      [](GptConfig& c) {
        c.window_size = {8, 0}, c.window_attn_skip_freq = "2";
      },
      "window_attn_skip_freq is 2");
  config = read_with("mixtral");
  expect([](GptConfig& c) { c.moe.shared_expert_intermediate_size = 32; }, "moe_shared_expert");
  expect([](GptConfig& c) { c.moe.router_score_function = "sigmoid"; }, "moe_router_score_function");
  expect([](GptConfig& c) { c.moe.router_pre_softmax = true; }, "moe_router_pre_softmax");
  expect([](GptConfig& c) { c.moe.layer_freq = "[0,1]"; }, "moe_layer_freq");
  expect([](GptConfig& c) { c.moe.expert_capacity_factor = 1; }, "moe_expert_capacity_factor");
  config = read_with("gpt2");
  expect([](GptConfig& c) { c.squared_relu = true; }, "squared_relu");
  expect([](GptConfig& c) { c.num_query_groups = 2; }, "num_query_groups");
  expect([](GptConfig& c) { c.add_bias_linear = false; }, "add_bias_linear");
}

TEST_F(HfConfigTest, SurvivesRandomDamage) {
  const std::string good = read_text_file(load_hf_golden("llama3_tied").directory / "config.json");
  std::mt19937 random(17);
  int read_whole = 0;
  for (int round = 0; round < 500; ++round) {
    std::string bad = good;
    for (int k = 0; k < 2; ++k) {
      bad[random() % bad.size()] =
          random() % 2 == 0 ? static_cast<char>(random()) : good[random() % good.size()];
    }
    const std::filesystem::path directory = root_ / std::to_string(round);
    std::filesystem::create_directories(directory);
    FILE* file = std::fopen((directory / "config.json").c_str(), "wb");
    std::fwrite(bad.data(), 1, bad.size(), file);
    std::fclose(file);
    try {
      read_whole += read_hf_config(directory).num_layers > 0 ? 1 : 0;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(read_whole, 5);
}

}  // namespace
}  // namespace megalith
