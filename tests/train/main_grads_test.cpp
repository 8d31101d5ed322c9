// Which dtypes of main gradients and products a model may have.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/train/trainer_fixture.h"

namespace megalith {
namespace {

using testing::small_run;

TEST(Dtypes, AreRefusedWhereTheModelHasNoUseForThem) {
  const auto refusal = [](const auto& change) {
    RunConfig config = small_run(1);
    change(config);
    try {
      check_layout(config, 1);
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(refusal([](RunConfig& c) { c.optim.main_grads_dtype = "bf16"; }),
            "main_grads_dtype bf16 needs a bf16 model; this one is f32");
  EXPECT_EQ(refusal([](RunConfig& c) {
              c.optim.main_grads_dtype = "bf16";
              c.model.fp16 = true;
            }),
            "main_grads_dtype bf16 needs a bf16 model; this one is fp16");
  EXPECT_EQ(refusal([](RunConfig& c) { c.train.allow_tf32 = c.model.bf16 = true; }),
            "allow_tf32 is for f32 models; this one is bf16");
  EXPECT_EQ(refusal([](RunConfig& c) {
              c.model.bf16 = true;
              c.optim.main_grads_dtype = "bf16";
            }),
            "");
  RunConfig config = small_run(1);
  config.train.allow_tf32 = true;
  EXPECT_THAT([&] { testing::train_run(config); },
              ::testing::ThrowsMessage<UsageError>("allow_tf32 needs a GPU; device is cpu"));
}

}  // namespace
}  // namespace megalith
