// Recompute, deferral and the number of threads must not change one bit of loss or gradients.

#include <gtest/gtest.h>

#include "megalith/models/gpt/gpt_flops.h"

#include "tests/models/gpt_fixture.h"

namespace megalith {
namespace {

using testing::gpt2_config;
using testing::llama_config;
using testing::ModelRun;
using testing::moe_config;

struct Outcome {
  double loss;
  std::vector<double> gradients;
  int64_t peak_bytes;
  int64_t host_peak_bytes;
};

Outcome outcome(const GptConfig& config, DType dtype, const RecomputePolicy& recompute, bool is_deferred,
                int num_threads = 2, int64_t num_offloaded = 0) {
  ModelRun run(config, dtype, {.num_threads = num_threads});
  run.is_training = true;
  run.num_offloaded = num_offloaded;
  run.exec().ledger().reset_peak();
  const int64_t before = run.exec().ledger().peak_bytes();
  WgradQueue queue;
  const double loss = run.step(recompute, is_deferred ? &queue : nullptr);
  EXPECT_EQ(queue.size(), 0u);
  const MemoryLedger* host = run.host_ledger();
  if (host != nullptr) {
    EXPECT_EQ(host->current_bytes(), 0);
  }
  return {loss, to_vector<double>(run.parameters().flat_grad()), run.exec().ledger().peak_bytes() - before,
          host != nullptr ? host->peak_bytes() : 0};
}

class GptPolicy : public ::testing::TestWithParam<std::tuple<std::string, DType>> {
 protected:
  GptConfig config() const {
    const std::string& kind = std::get<0>(GetParam());
    GptConfig config = kind == "Gpt2" ? gpt2_config() : kind == "Moe" ? moe_config() : llama_config();
    if (kind == "Sinks") config.softmax_type = "learnable";
    config.moe.aux_loss_coeff = config.moe.z_loss_coeff = 0.01;
    config.hidden_dropout = config.attention_dropout = 0.1;
    return config;
  }
  DType dtype() const { return std::get<1>(GetParam()); }
};

TEST_P(GptPolicy, ChangesNoBit) {
  const Outcome plain = outcome(config(), dtype(), {}, false);
  const std::vector<RecomputePolicy> policies = {{},
                                                 {.ops = {"norm"}},
                                                 {.ops = {"norm", "activation"}},
                                                 {.full = true},
                                                 {.full = true, .ops = {"activation"}}};
  for (const RecomputePolicy& policy : policies) {
    for (const bool is_deferred : {false, true}) {
      const Outcome other = outcome(config(), dtype(), policy, is_deferred);
      EXPECT_EQ(other.loss, plain.loss);
      EXPECT_EQ(other.gradients, plain.gradients)
          << "full " << policy.full << ", ops " << policy.ops.size() << ", deferred " << is_deferred;
    }
  }
}

TEST_P(GptPolicy, OffloadChangesNoBit) {
  GptConfig deep = config();
  deep.num_layers = 5;
  if (deep.moe.num_experts > 0) deep.moe.layer_freq = "[0,1,1,0,1]";
  const Outcome plain = outcome(deep, dtype(), {}, false);
  const std::vector<RecomputePolicy> policies = {{}, {.ops = {"norm", "activation"}}, {.full = true}};
  for (const RecomputePolicy& policy : policies) {
    for (const int64_t num_offloaded : {1, 2, 5}) {
      for (const bool is_deferred : {false, true}) {
        SCOPED_TRACE(fmt::format("{} layers, full {}, ops {}, deferred {}", num_offloaded, policy.full,
                                 policy.ops.size(), is_deferred));
        const Outcome other = outcome(deep, dtype(), policy, is_deferred, 2, num_offloaded);
        EXPECT_EQ(other.loss, plain.loss);
        EXPECT_EQ(other.gradients, plain.gradients);
        EXPECT_GT(other.host_peak_bytes, 0);
      }
    }
  }
}

TEST_P(GptPolicy, ThreadsChangeNoBit) {
  const Outcome one = outcome(config(), dtype(), {}, false, 1);
  const Outcome two = outcome(config(), dtype(), {}, false, 2);
  EXPECT_EQ(one.loss, two.loss);
  EXPECT_EQ(one.gradients, two.gradients);
}

INSTANTIATE_TEST_SUITE_P(Models, GptPolicy,
                         ::testing::Combine(::testing::Values("Llama", "Gpt2", "Moe", "Sinks"),
                                            ::testing::Values(DType::kF32, DType::kBF16)),
                         [](const auto& instance) {
                           return std::get<0>(instance.param) + name_of(std::get<1>(instance.param));
                         });

TEST(GptPolicyMemory, RecomputeHoldsLess) {
  GptConfig config = llama_config();
  config.num_layers = 6;
  const int64_t plain = outcome(config, DType::kF32, {}, false).peak_bytes;
  const int64_t selective = outcome(config, DType::kF32, {.ops = {"norm", "activation"}}, false).peak_bytes;
  const int64_t full = outcome(config, DType::kF32, {.full = true}, false).peak_bytes;
  EXPECT_LT(selective, plain);
  EXPECT_LT(full, selective);
}

TEST(GptPolicyMemory, OffloadHoldsLess) {
  GptConfig config = llama_config();
  config.num_layers = 12;
  for (const RecomputePolicy& policy : {RecomputePolicy{}, RecomputePolicy{.ops = {"norm", "activation"}}}) {
    int64_t previous = outcome(config, DType::kF32, policy, false).peak_bytes;
    const int64_t plain = previous;
    for (const int64_t num_offloaded : {2, 4, 8}) {
      const Outcome less = outcome(config, DType::kF32, policy, false, 2, num_offloaded);
      EXPECT_LT(less.peak_bytes, previous);
      // Nearly all that is on the host is not on the device.
      EXPECT_GT(less.host_peak_bytes, (plain - less.peak_bytes) * 9 / 10);
      EXPECT_LT(less.host_peak_bytes, (plain - less.peak_bytes) * 5 / 4) << num_offloaded;
      previous = less.peak_bytes;
    }
  }
}

TEST(GptModel, CountsItsParameters) {
  GptConfig sinks = llama_config();
  sinks.softmax_type = "learnable";
  for (const GptConfig& config : {llama_config(), gpt2_config(), moe_config(), sinks}) {
    ModelRun run(config, DType::kF32);
    const GptModel& model = run.model();
    EXPECT_EQ(run.parameters().num_elements(), count_gpt_parameters(model.config()).total());
  }
}

}  // namespace
}  // namespace megalith
