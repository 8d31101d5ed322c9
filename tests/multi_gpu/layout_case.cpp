#include "tests/multi_gpu/layout_case.h"

#include <gtest/gtest.h>

namespace megalith {

RunConfig layout_config() {
  RunConfig c;
  c.model.num_layers = 8;
  c.model.hidden_size = 128;
  c.model.num_attention_heads = 8;
  c.model.num_query_groups = 4;
  c.model.ffn_hidden_size = 192;
  c.model.vocab_size = 250;
  c.model.make_vocab_size_divisible_by = 64;
  c.model.max_position_embeddings = 64;
  c.model.init_method_std = 0.1;
  c.model.position_embedding_type = "rope";
  c.model.normalization = "RMSNorm";
  c.model.swiglu = true;
  c.model.add_bias_linear = false;
  c.model.untie_embeddings_and_output_weights = true;
  c.model.hidden_dropout = c.model.attention_dropout = 0;
  c.data.mock_data = true;
  c.data.split = "100,0,0";
  c.data.seq_length = 64;
  c.optim.lr = 5e-4;
  c.optim.lr_decay_style = "constant";
  c.train.train_iters = 100;
  c.train.micro_batch_size = 1;
  c.train.global_batch_size = 8;
  return c;
}

void expect_equal_to_one_gpu(const RunConfig& config, const std::string& name, int num_ranks,
                             const ParallelConfig& parallel) {
  const LayoutRunner runner(config, {.size = 250, .eod = 249},
                            {.num_steps = 10, .device = DeviceKind::kCuda});
  const LayoutRun expected = runner.run({}, 1);
  EXPECT_LT(expected.losses.back(), expected.losses.front());
  const LayoutRun actual = runner.run(parallel, num_ranks);
  const LayoutDeviation deviation = compare_layouts(expected, actual, layout_tolerance(config));
  EXPECT_TRUE(deviation.is_ok()) << deviation.where << ": " << deviation.worst << ", allowed "
                                 << deviation.allowed;
  std::printf("%s: worst %.1e of %.1e allowed\n", name.c_str(), deviation.worst, deviation.allowed);
}

}  // namespace megalith
