// Models with attention sinks generate on the GPU what they generate on the CPU, with and without a cache.

#include <gtest/gtest.h>

#include "megalith/infer/generate.h"
#include "megalith/models/gpt/gpt_model.h"

#include "tests/cuda/letters_model.h"
#include "tests/cuda/short_runs.h"
#include "tests/infer/letters.h"

namespace megalith {
namespace {

GptConfig config(int64_t head_dim) {
  GptConfig c = testing::letters_model(head_dim);
  c.softmax_type = "learnable";
  return c;
}

std::vector<std::string> texts(GptModel& model, bool use_cache, Exec& exec) {
  const testing::Letters letters;
  std::vector<std::vector<int32_t>> prompts;
  for (const char* prompt : {"a", "thequickbrownfox", "hello"}) prompts.push_back(letters.encode(prompt));
  std::vector<std::string> all;
  for (const Generation& each : generate(
           model, letters, prompts,
           {.max_new_tokens = at_most(8, 60), .sampling = {.temperature = 0}, .use_cache = use_cache}, exec))
    all.push_back(each.text);
  return all;
}

// Heads of 16 are read in vectors by the decode kernel, heads of 6 by the tiled one.
TEST(CudaSinkGeneration, GreedyEqualsTheForwardWithoutACacheAndTheCpu) {
  for (const int64_t head_dim : {16, 6}) {
    Exec gpu({.device = {DeviceKind::kCuda, 0}}), cpu;
    GptModel model(config(head_dim), gpu), on_cpu(config(head_dim), cpu);
    model.parameters().initialize(gpu);
    on_cpu.parameters().initialize(cpu);
    const std::vector<std::string> cached = texts(model, true, gpu);
    EXPECT_EQ(cached, texts(model, false, gpu)) << head_dim;
    EXPECT_EQ(cached, texts(on_cpu, true, cpu)) << head_dim;
  }
}

}  // namespace
}  // namespace megalith
