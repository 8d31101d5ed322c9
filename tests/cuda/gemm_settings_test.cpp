#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/kernels/cuda/vendor/gemm_plan.h"
#include "megalith/ops/gemm.h"

#include "tests/cuda/gpu_values.h"
#include "tests/cuda/short_runs.h"
#include "tests/cuda/twins.h"

namespace megalith {
namespace {

using conformance::expect_same_bits;
using cuda::GemmPlan;
using testing::Twins;

constexpr int64_t kM = 256, kN = 384, kK = 512;
constexpr int kCandidates = 40;
constexpr double kAnyWaves = 1e9;

const cuda::GemmKey kKey{.m = kM,
                         .n = kN,
                         .k = kK,
                         .a_stride = kK,
                         .b_stride = kK,
                         .c_stride = kN,
                         .dtype = DType::kBF16,
                         .out_dtype = DType::kBF16,
                         .transpose_b = true,
                         .a_alignment = 16,
                         .b_alignment = 16,
                         .c_alignment = 16};

class CudaGemmSettings : public ::testing::Test {
 protected:
  cublasLtHandle_t handle() { return t_.gpu().slots().get<cuda::CublasLt>().handle(); }
  const cuda::GemmTable none_{cublasLtGetVersion(), "none"};
  Twins t_;
  GemmPlan plan_{kKey, none_, handle()};
};

TEST_F(CudaGemmSettings, AreManyAllDifferentAndOfTheKnownAlgorithms) {
  const auto settings = plan_.all_settings(kCandidates, kAnyWaves, handle());
  const auto candidates = plan_.candidates(kCandidates, handle());
  EXPECT_GT(settings.size(), 4 * candidates.size());
  std::set<std::array<uint64_t, 8>> words;
  std::set<cuda::GemmTile> tiles;
  for (const GemmPlan::Setting& each : settings) {
    words.insert(each.algorithm.words);
    tiles.insert(each.tile);
  }
  EXPECT_EQ(words.size(), settings.size());
  EXPECT_GT(tiles.size(), 1u);
  for (const cuda::GemmAlgorithm& each : candidates) {
    ASSERT_TRUE(plan_.use(each, handle()));
    const std::string what = plan_.describe_algorithm();
    const bool is_whole = what.find("split-k 1,") != std::string::npos;
    EXPECT_TRUE(!is_whole || words.contains(each.words)) << what;
  }
}

TEST_F(CudaGemmSettings, NeedNoMoreWavesThanAsked) {
  const double waves = plan_.waves();
  const auto settings = plan_.all_settings(kCandidates, waves, handle());
  EXPECT_FALSE(settings.empty());
  EXPECT_LT(settings.size(), plan_.all_settings(kCandidates, kAnyWaves, handle()).size());
  for (const GemmPlan::Setting& each : settings) {
    ASSERT_TRUE(plan_.use(each.algorithm, handle()));
    EXPECT_LE(plan_.waves(), waves);
  }
}

TEST_F(CudaGemmSettings, GiveTheProductAndTheSameBitsEachTime) {
  const auto every = static_cast<size_t>(at_most(200, 11));  // of some two thousand on an H200
  const auto a = t_.random({kM, kK}, DType::kBF16, 1), b = t_.random({kN, kK}, DType::kBF16, 2);
  const auto c = t_.poisoned({kM, kN}, DType::kBF16);
  gemm({.a = a.cpu, .b = b.cpu, .c = c.cpu, .transpose_b = Transpose::kYes}, t_.cpu());
  const Tensor again = t_.gpu().empty({kM, kN}, DType::kBF16);
  const Tensor workspace = t_.gpu().empty({cuda::kGemmWorkspaceBytes}, DType::kU8);
  const auto run = [&](const Tensor& out) {
    fill(out, -1, t_.gpu());
    plan_.run({.a = a.gpu.raw(),
               .b = b.gpu.raw(),
               .c = out.raw(),
               .workspace = workspace.raw(),
               .stream = t_.gpu().cuda().stream()},
              handle());
  };
  const auto settings = plan_.all_settings(kCandidates, kAnyWaves, handle());
  for (size_t i = 0; i < settings.size(); i += every) {
    ASSERT_TRUE(plan_.use(settings[i].algorithm, handle()));
    const std::string what = plan_.describe_algorithm();
    EXPECT_THAT(what, ::testing::HasSubstr("split-k 1,"));
    run(c.gpu);
    run(again);
    Twins::expect_close(c, kK, 1, what);
    expect_same_bits(again, c.gpu, what.c_str());
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace megalith
