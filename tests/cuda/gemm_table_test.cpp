#include "megalith/kernels/cuda/vendor/gemm_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/kernels/cuda/gemm.h"
#include "megalith/ops/gemm.h"

#include "tests/cuda/short_runs.h"
#include "tests/cuda/twins.h"

namespace megalith {
namespace {

using cuda::GemmAlgorithm;
using cuda::GemmKey;
using cuda::GemmTable;
using testing::Twins;

const GemmKey kKey{.m = 128,
                   .n = 64,
                   .k = 32,
                   .a_stride = 32,
                   .b_stride = 32,
                   .c_stride = 64,
                   .dtype = DType::kBF16,
                   .out_dtype = DType::kF32,
                   .transpose_b = true,
                   .reads_c = true,
                   .a_alignment = 16,
                   .b_alignment = 16,
                   .c_alignment = 16};

TEST(CudaGemmTable, TextComesBack) {
  GemmTable table(130100, "NVIDIA H200");
  const GemmAlgorithm algorithm{{1, 2, 3, ~uint64_t{0}, 5, 6, 7, 8}};
  table.add(kKey, algorithm, "fast");
  GemmKey other = kKey;
  other.reads_c = false;
  other.has_bias = true;
  other.bias_alignment = 16;
  table.add(other, {}, "");
  const GemmTable again = GemmTable::parse(table.text(), "text");
  EXPECT_EQ(again.text(), table.text());
  EXPECT_EQ(again.library_version(), 130100u);
  EXPECT_EQ(again.device_name(), "NVIDIA H200");
  ASSERT_NE(again.find(kKey), nullptr);
  EXPECT_EQ(again.find(kKey)->words, algorithm.words);
  GemmKey unaligned = kKey;
  unaligned.a_alignment = 8;
  EXPECT_EQ(again.find(unaligned), nullptr);
  other.n = 65;
  EXPECT_EQ(again.find(other), nullptr);
}

TEST(CudaGemmTable, WrongTextIsRefusedByLine) {
  const std::string head = "gemm_table 1 GPU\n";
  const std::string line = "1 2 3 NT bf16 f32 C 1 2 3 0 0 0 0 0 0 0 0\n";
  EXPECT_EQ(GemmTable::parse(head + line, "t").size(), 1u);
  EXPECT_THROW(GemmTable::parse("", "t"), Error);
  EXPECT_THROW(GemmTable::parse("gemm_table\n", "t"), Error);
  for (const char* wrong :
       {"1 2\n", "1 2 3 XT bf16 f32 C 1 2 3 0 0 0 0 0 0 0 0\n", "1 2 3 NT bf17 f32 C 1 2 3 0 0 0 0 0 0 0 0\n",
        "1 2 3 NT bf16 f32 D 1 2 3 0 0 0 0 0 0 0 0\n"}) {
    EXPECT_THAT([&] { GemmTable::parse(head + line + wrong, "my table"); },
                ::testing::ThrowsMessage<Error>(::testing::HasSubstr("my table, line 3")))
        << wrong;
  }
  for (const std::string_view text : cuda::builtin_gemm_tables())
    EXPECT_GT(GemmTable::parse(text, "built-in").size(), 0u);
}

class CudaGemmTuning : public ::testing::TestWithParam<bool> {};

TEST_P(CudaGemmTuning, KeepsTheProduct) {
  if (GetParam() && is_short_run()) GTEST_SKIP() << "runs each of a thousand settings many times";
  Twins t;
  const auto a = t.random({256, 512}, DType::kBF16, 1), b = t.random({384, 512}, DType::kBF16, 2);
  const auto c = t.poisoned({256, 384}, DType::kF32);
  const auto product = [&] {
    gemm({.a = a.gpu, .b = b.gpu, .c = c.gpu, .transpose_b = Transpose::kYes}, t.gpu());
  };
  gemm({.a = a.cpu, .b = b.cpu, .c = c.cpu, .transpose_b = Transpose::kYes}, t.cpu());
  product();
  const std::string text =
      cuda::tune_gemm_plans({.min_operations = 1, .tries_all_settings = GetParam(), .min_gain = -1}, t.gpu());
  const GemmTable table = GemmTable::parse(text, "tuned");
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.device_name(), t.gpu().cuda().limits().name);
  fill(c.gpu, -1, t.gpu());
  product();
  Twins::expect_close(c, 512, 1, "after tuning");
}
INSTANTIATE_TEST_SUITE_P(Efforts, CudaGemmTuning, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Wide" : "Quick"; });

}  // namespace
}  // namespace megalith
