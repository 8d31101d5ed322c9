// Mixtures of experts in a model on the GPU against the CPU.

#include <gtest/gtest.h>

#include "megalith/config/recipe.h"
#include "megalith/train/layout_run.h"

#include "tests/cuda/short_runs.h"
#include "tests/models/gpt_fixture.h"
#include "tests/train/recipe_options.h"

namespace megalith {
namespace {

using testing::ModelRun;

const ExecOptions kGpu{.device = {DeviceKind::kCuda, 0}};

std::vector<MoeConfig> forms() {
  MoeConfig softmax = testing::moe_config().moe;
  softmax.aux_loss_coeff = 0.01;
  MoeConfig sigmoid = softmax;
  sigmoid.router_score_function = "sigmoid";
  sigmoid.router_enable_expert_bias = true;
  sigmoid.router_load_balancing_type = "seq_aux_loss";
  sigmoid.z_loss_coeff = 0.001;
  MoeConfig gathered = sigmoid;
  gathered.token_dispatcher_type = "allgather";
  MoeConfig dropping = softmax;
  dropping.expert_capacity_factor = 1;
  MoeConfig padded = dropping;
  padded.pad_expert_input_to_capacity = true;
  padded.token_drop_policy = "position";
  return {softmax, sigmoid, gathered, dropping, padded};
}

TEST(CudaMoeModel, OneStepOfEveryForm) {
  for (const MoeConfig& moe : forms()) {
    SCOPED_TRACE(fmt::format("{} {} capacity {}", moe.router_score_function, moe.token_dispatcher_type,
                             moe.expert_capacity_factor));
    GptConfig config = testing::moe_config();
    config.moe = moe;
    ModelRun cpu(config, DType::kF32), gpu(config, DType::kF32, kGpu), bf16(config, DType::kBF16, kGpu);
    const double expected = cpu.step(), loss = gpu.step(), in_bf16 = bf16.step();
    EXPECT_NEAR(loss, expected, 1e-5 * expected);
    EXPECT_NEAR(in_bf16, expected, 2e-2 * expected);
    for (size_t i = 0; i < cpu.parameters().parameters().size(); ++i) {
      const Parameter& a = *cpu.parameters().parameters()[i];
      const Parameter& b = *gpu.parameters().parameters()[i];
      const auto ga = to_vector<double>(a.main_grad), gb = to_vector<double>(b.main_grad);
      double difference = 0, size = 1e-6;
      for (size_t j = 0; j < ga.size(); ++j) {
        difference += (ga[j] - gb[j]) * (ga[j] - gb[j]);
        size += ga[j] * ga[j];
      }
      EXPECT_LE(std::sqrt(difference), 1e-4 * std::sqrt(size)) << a.name();
    }
    const RouterState& a = *cpu.model().routers().at(0).state;
    const RouterState& b = *gpu.model().routers().at(0).state;
    EXPECT_EQ(to_vector<double>(a.tokens_per_expert), to_vector<double>(b.tokens_per_expert));
    EXPECT_EQ(bf16.step(), in_bf16) << "twice the same bits";
    const auto bits = to_vector<double>(bf16.parameters().flat_grad());
    bf16.step({.full = true, .ops = {}});
    EXPECT_EQ(to_vector<double>(bf16.parameters().flat_grad()), bits) << "computed again";
  }
}

TEST(CudaMoeModel, RecipeTrainsAsOnTheCpu) {
  RunConfig config;
  Options options = testing::recipe_options(config);
  read_recipe(options, std::string(MG_TEST_DATA) + "/../../recipes/moe-tiny.yaml");
  complete(config, 0);
  config.data.mock_data = true;
  config.train.micro_batch_size = 2;
  config.train.global_batch_size = 4;
  const Vocabulary vocabulary{.size = config.model.vocab_size,
                              .eod = static_cast<int32_t>(config.model.vocab_size - 1)};
  const auto run_on = [&](DeviceKind device) {
    return LayoutRunner(config, vocabulary,
                        {.num_steps = static_cast<int>(at_most(2, 10)), .num_threads = 4, .device = device})
        .run({}, 1);
  };
  const LayoutDeviation deviation =
      compare_layouts(run_on(DeviceKind::kCpu), run_on(DeviceKind::kCuda), layout_tolerance(config));
  EXPECT_TRUE(deviation.is_ok()) << deviation.where << ": " << deviation.worst << ", allowed "
                                 << deviation.allowed;
  std::printf("moe-tiny: worst %.1e of %.1e allowed (%s)\n", deviation.worst, deviation.allowed,
              deviation.where.c_str());
}

}  // namespace
}  // namespace megalith
