// Main gradients in bf16 on GPUs: ten steps are those of one GPU within the roundings that both make.
#include <cmath>

#include <gtest/gtest.h>

#include "tests/multi_gpu/gpu_ranks.h"
#include "tests/multi_gpu/layout_case.h"

namespace megalith {
namespace {

// As in tests/train/main_grads_test.cpp: a walk of 24 roundings to bf16, and with tensor parallelism of as
// many in each of eight layers, of which the furthest of thousands goes twice as far.
TEST(GpuMainGrads, TenStepsEqualOneGpu) {
  MG_NEED_GPUS(2);
  RunConfig config = layout_config();
  config.model.bf16 = true;
  config.optim.main_grads_dtype = "bf16";
  const LayoutRunner runner(config, {.size = 250, .eod = 249},
                            {.num_steps = 10, .device = DeviceKind::kCuda});
  const LayoutRun expected = runner.run({}, 1);
  const std::vector<ParallelConfig> layouts = {{},
                                               {.data_parallel_sharding_strategy = "optim"},
                                               {.data_parallel_sharding_strategy = "optim_grads"},
                                               {.data_parallel_sharding_strategy = "optim_grads_params"},
                                               {.tensor_model_parallel_size = 2},
                                               {.tensor_model_parallel_size = 2, .sequence_parallel = true}};
  for (const ParallelConfig& parallel : layouts) {
    const double layers = parallel.tensor_model_parallel_size > 1 ? 8 : 1;
    const LayoutDeviation deviation =
        compare_layouts(expected, runner.run(parallel, 2), 2 * 0x1p-8 * std::sqrt(24 * layers));
    EXPECT_TRUE(deviation.is_ok()) << parallel.str() << ": " << deviation.where << ": " << deviation.worst
                                   << ", allowed " << deviation.allowed;
    std::printf("%s: worst %.1e of %.1e allowed\n", parallel.str().c_str(), deviation.worst,
                deviation.allowed);
  }
}

}  // namespace
}  // namespace megalith
