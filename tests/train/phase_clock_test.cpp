#include "megalith/train/phase_clock.h"

#include <gtest/gtest.h>

#include "tests/train/trainer_fixture.h"

namespace megalith {
namespace {

TEST(PhaseClock, TheHostsTimesAddUp) {
  Exec exec({.num_threads = 1});
  const auto begin = std::chrono::steady_clock::now();
  PhaseClock clock(PhaseClock::Times::kHostAndDevice, exec);
  clock.stop(Phase::kData);
  clock.stop(Phase::kForward);
  clock.stop(Phase::kData);
  const double all =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_GT(clock.host()[Phase::kData], 0);
  EXPECT_GT(clock.host()[Phase::kForward], 0);
  EXPECT_EQ(clock.host()[Phase::kOptimizer], 0);
  EXPECT_LE(clock.host()[Phase::kData] + clock.host()[Phase::kForward], all);
  EXPECT_EQ(clock.device().ms, clock.host().ms) << "on a CPU they are the same";
}

TEST(PhaseClock, TableOfMeans) {
  PhaseTimes host, device;
  host[Phase::kForward] = 4;
  device[Phase::kForward] = 30;
  device[Phase::kBackward] = 60;
  device[Phase::kOptimizer] = 10;
  const std::string table = phase_table(host, device, 2);
  EXPECT_NE(table.find("forward              2.000      15.000    30.0 %"), std::string::npos) << table;
  EXPECT_NE(table.find("backward             0.000      30.000    60.0 %"), std::string::npos) << table;
  EXPECT_NE(table.find("sum                  2.000      50.000"), std::string::npos) << table;
}

TEST(Profile, StepsOfTheRangeAreTimed) {
  TrainConfig config;
  EXPECT_FALSE(config.profiles_step(10));
  config.profile = true;
  EXPECT_FALSE(config.profiles_step(9));
  EXPECT_TRUE(config.profiles_step(10));
  EXPECT_TRUE(config.profiles_step(11));
  EXPECT_FALSE(config.profiles_step(12));
  config.profile_step_end = 10;
  config.train_iters = 1;
  EXPECT_THROW(validate(config), UsageError);
}

TEST(CudaGraphOption, NamesWhatItNeeds) {
  RunConfig config = testing::small_run(4);
  config.train.cuda_graph_impl = "full_iteration";
  EXPECT_THROW(check_layout(config, 1), UsageError) << "dropout";
  config.model.hidden_dropout = config.model.attention_dropout = 0;
  EXPECT_NO_THROW(check_layout(config, 1));
  EXPECT_THROW(check_layout(config, 2), UsageError);
  EXPECT_THROW(testing::train_run(config), UsageError) << "there is no GPU";
}

TEST(CudaGraphOption, NamesWhichExpertsItTakes) {
  RunConfig config = testing::small_run(4);
  config.train.cuda_graph_impl = "full_iteration";
  config.model.hidden_dropout = config.model.attention_dropout = 0;
  config.model.moe.num_experts = 4;
  config.model.moe.router_load_balancing_type = "aux_loss";
  config.model.moe.aux_loss_coeff = 0.01;
  EXPECT_NO_THROW(check_layout(config, 1));
  const auto refused = [&](const auto& change, const char* name) {
    RunConfig broken = config;
    change(broken);
    try {
      check_layout(broken, 1);
      ADD_FAILURE() << name;
    } catch (const UsageError& error) {
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
    }
  };
  refused([](RunConfig& c) { c.model.moe.expert_capacity_factor = 1; }, "moe_pad_expert_input_to_capacity");
  refused([](RunConfig& c) { c.model.moe.router_load_balancing_type = "global_aux_loss"; },
          "global_aux_loss");
  refused([](RunConfig& c) { c.train.calculate_per_token_loss = true; }, "calculate_per_token_loss");
  config.model.moe.expert_capacity_factor = 1;
  config.model.moe.pad_expert_input_to_capacity = true;
  EXPECT_NO_THROW(check_layout(config, 1));
  config.model.moe.pad_expert_input_to_capacity = false;
  config.model.moe.expert_rank_capacity_factor = 1;
  EXPECT_NO_THROW(check_layout(config, 1));
}

TEST(OffloadOption, NamesWhatItNeeds) {
  RunConfig config = testing::small_run(4);
  config.train.cpu_offloading_num_layers = 1;
  EXPECT_NO_THROW(check_layout(config, 1));
  EXPECT_THROW(testing::train_run(config), UsageError) << "there is no GPU";
  config.train.cpu_offloading_num_layers = config.model.num_layers;
  EXPECT_THROW(check_layout(config, 1), UsageError);
  config.train.cpu_offloading_num_layers = 1;
  config.model.hidden_dropout = config.model.attention_dropout = 0;
  config.train.cuda_graph_impl = "full_iteration";
  EXPECT_THROW(check_layout(config, 1), UsageError) << "a graph";
}

}  // namespace
}  // namespace megalith
