// Every parameter's gradient of whole models, in double, against central differences of the loss along a
// random direction.

#include <gtest/gtest.h>

#include "tests/models/gpt_fixture.h"

namespace megalith {
namespace {

using testing::gpt2_config;
using testing::llama_config;
using testing::ModelRun;
using testing::moe_config;

// (L(w + e v) - L(w - e v)) / 2e against <g, v>. The truncation error is O(e^2) and rounding O(1e-16 / e):
// with e = 1e-5 both stay below 1e-8 of the loss, which is of order 1.
void expect_gradients_match(ModelRun& run) {
  run.step();
  constexpr double kStep = 1e-5;
  for (const auto& parameter : run.parameters().parameters()) {
    const std::vector<double> gradient = to_vector<double>(parameter->main_grad);
    double* weights = parameter->data.data<double>();
    std::vector<double> direction(gradient.size());
    const RngKey key = RngKey{11, 0}.fold(parameter->name());
    double expected = 0, size = 0;
    for (size_t i = 0; i < direction.size(); ++i) {
      direction[i] = 2.0 * uniform_from_bits(key.bits(i)) - 1;
      expected += gradient[i] * direction[i];
      size += gradient[i] * gradient[i];
    }
    const auto move = [&](double factor) {
      for (size_t i = 0; i < direction.size(); ++i) weights[i] += factor * direction[i];
    };
    move(kStep);
    const double above = run.loss_value();
    move(-2 * kStep);
    const double below = run.loss_value();
    move(kStep);
    EXPECT_GT(size, 0) << parameter->name() << " got no gradient";
    EXPECT_NEAR((above - below) / (2 * kStep), expected, 1e-7 * (1 + std::abs(expected)))
        << parameter->name();
  }
}

TEST(GptGradient, Llama) {
  ModelRun run(llama_config(), DType::kF64);
  expect_gradients_match(run);
}

TEST(GptGradient, LlamaWithPackedDocuments) {
  ModelRun run(llama_config(), DType::kF64);
  run.packed_documents = true;
  expect_gradients_match(run);
}

TEST(GptGradient, LlamaTiedWithPartialRotaryAndScaling) {
  GptConfig config = llama_config();
  config.untie_embeddings_and_output_weights = false;
  config.kv_channels = 8;
  config.rotary_percent = 0.5;
  config.use_rope_scaling = true;
  config.rope_original_positions = 64;
  config.add_qkv_bias = true;
  ModelRun run(config, DType::kF64);
  expect_gradients_match(run);
}

TEST(GptGradient, NormsOfQueriesAndKeys) {
  GptConfig config = llama_config();
  config.qk_layernorm = true;
  ModelRun llama(config, DType::kF64);
  expect_gradients_match(llama);
  config = gpt2_config();
  config.qk_layernorm = true;
  ModelRun gpt2(config, DType::kF64);
  expect_gradients_match(gpt2);
}

TEST(GptGradient, LearnedSinks) {
  GptConfig config = llama_config();
  config.softmax_type = "learnable";
  config.window_size = {5, 0};
  config.window_attn_skip_freq = "2";
  ModelRun llama(config, DType::kF64);
  llama.packed_documents = true;
  expect_gradients_match(llama);
  config = gpt2_config();
  config.softmax_type = "learnable";
  config.attention_dropout = 0.3;
  ModelRun gpt2(config, DType::kF64);
  gpt2.is_training = true;
  expect_gradients_match(gpt2);
}

TEST(GptGradient, SoftmaxOffByOne) {
  GptConfig config = llama_config();
  const double vanilla = ModelRun(config, DType::kF64).loss_value();
  config.softmax_type = "off-by-one";
  ModelRun run(config, DType::kF64);
  expect_gradients_match(run);
  EXPECT_NE(run.loss_value(), vanilla);
}

TEST(GptGradient, Gpt2) {
  ModelRun run(gpt2_config(), DType::kF64);
  expect_gradients_match(run);
}

TEST(GptGradient, SquaredReluWithoutPositions) {
  GptConfig config = gpt2_config();
  config.squared_relu = true;
  config.position_embedding_type = "none";
  ModelRun run(config, DType::kF64);
  expect_gradients_match(run);
}

TEST(GptGradient, ExpertsBySoftmax) {
  for (const bool pre_softmax : {false, true}) {
    GptConfig config = moe_config();
    config.moe.router_pre_softmax = pre_softmax;
    config.moe.router_topk_scaling_factor = 1.5;
    ModelRun run(config, DType::kF64);
    expect_gradients_match(run);
  }
}

TEST(GptGradient, ExpertsBySigmoidInGroups) {
  GptConfig config = moe_config();
  config.moe.router_score_function = "sigmoid";
  config.moe.router_enable_expert_bias = true;
  config.moe.router_num_groups = 2;
  config.moe.router_group_topk = 1;
  ModelRun run(config, DType::kF64);
  const RouterView router = run.model().routers().at(0);
  EXPECT_EQ(router.name, "decoder.layers.1.mlp.router");
  router.state->expert_bias.data<float>()[2] = 0.05f;
  expect_gradients_match(run);
}

TEST(GptGradient, ExpertsWithCapacity) {
  for (const char* policy : {"probs", "position"}) {
    for (const bool pads : {false, true}) {
      GptConfig config = moe_config();
      config.moe.expert_capacity_factor = 0.8;
      config.moe.token_drop_policy = policy;
      config.moe.pad_expert_input_to_capacity = pads;
      ModelRun run(config, DType::kF64);
      expect_gradients_match(run);
    }
  }
}

TEST(GptGradient, DropoutDrawsTheSameMaskForwardAndBackward) {
  GptConfig config = gpt2_config();
  config.hidden_dropout = 0.2;
  config.attention_dropout = 0.3;
  ModelRun run(config, DType::kF64);
  run.is_training = true;
  const double with_dropout = run.loss_value();
  expect_gradients_match(run);
  run.is_training = false;
  EXPECT_NE(run.loss_value(), with_dropout);
}

}  // namespace
}  // namespace megalith
