#include "megalith/ops/adamw.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/ops/conformance.h"
#include "tests/ops/performance.h"

namespace megalith {
namespace {

using namespace conformance;
using testing::HasSubstr;
using testing::ThrowsMessage;

AdamwArgs make_args(Exec& exec, int64_t count, DType param_dtype) {
  AdamwArgs args{
      .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .grad_scale = 0.25};
  args.master = random_tensor(exec, {count}, DType::kF32, 1);
  args.grad = random_tensor(exec, {count}, DType::kF32, 2);
  args.exp_avg = exec.zeros({count}, DType::kF32);
  args.exp_avg_sq = exec.zeros({count}, DType::kF32);
  args.param = param_dtype == DType::kF32 ? args.master : poisoned_tensor(exec, {count}, param_dtype);
  return args;
}

// Algorithm 2 of the paper, in double.
struct Reference {
  std::vector<double> master, m, v;
  void step(const AdamwArgs& args, const std::vector<double>& grad) {
    for (size_t i = 0; i < master.size(); ++i) {
      const double g = args.grad_scale * grad[i];
      m[i] = args.beta1 * m[i] + (1 - args.beta1) * g;
      v[i] = args.beta2 * v[i] + (1 - args.beta2) * g * g;
      const double m_hat = m[i] / (1 - std::pow(args.beta1, static_cast<double>(args.step)));
      const double v_hat = v[i] / (1 - std::pow(args.beta2, static_cast<double>(args.step)));
      master[i] =
          master[i] * (1 - args.lr * args.weight_decay) - args.lr * m_hat / (std::sqrt(v_hat) + args.eps);
    }
  }
};

TEST(Adamw, FollowsThePaperForSomeSteps) {
  for (const Isa isa : available_isas()) {
    const auto exec = make_exec(isa, 2);
    for (const DType param_dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      for (const int64_t count : {0, 1, 37, 40001}) {
        SCOPED_TRACE(fmt::format("{}, {}, {}", name_of(isa), name_of(param_dtype), count));
        AdamwArgs args = make_args(*exec, count, param_dtype);
        const std::vector<double> zeros(static_cast<size_t>(count));
        Reference reference{values_of(args.master), zeros, zeros};
        for (args.step = 1; args.step <= 4; ++args.step) {
          args.grad = random_tensor(*exec, {count}, DType::kF32, 10 + static_cast<uint64_t>(args.step));
          reference.step(args, values_of(args.grad));
          adamw(args, *exec);
        }
        // Four steps of rounding; an update is at most about 4 lr.
        expect_close(args.master, reference.master, tolerance(DType::kF32, 4), "master");
        expect_close(args.exp_avg, reference.m, tolerance(DType::kF32, 4), "exp_avg");
        expect_close(args.exp_avg_sq, reference.v, tolerance(DType::kF32, 4), "exp_avg_sq");
        EXPECT_EQ(values_of(args.param),
                  values_of(tensor_of(*exec, values_of(args.master), {count}, param_dtype)));
      }
    }
  }
}

TEST(Adamw, DoesNotDependOnTheThreads) {
  expect_same_for_any_threads([](Exec& exec) {
    const AdamwArgs args = make_args(exec, 100003, DType::kBF16);
    adamw(args, exec);
    std::vector<uint8_t> bits = bits_of(args.master);
    const std::vector<uint8_t> more = bits_of(args.param);
    bits.insert(bits.end(), more.begin(), more.end());
    return bits;
  });
}

TEST(Adamw, NamesWhatDoesNotFit) {
  Exec exec;
  AdamwArgs args = make_args(exec, 8, DType::kF32);
  args.step = 0;
  EXPECT_THAT([&] { adamw(args, exec); }, ThrowsMessage<Error>(HasSubstr("step 0 counts from 1")));
  args.step = 1;
  args.grad = exec.zeros({7}, DType::kF32);
  EXPECT_THAT([&] { adamw(args, exec); },
              ThrowsMessage<Error>(HasSubstr("adamw: grad has shape [7], not [8]")));
}

TEST(SumOfSquares, MatchesLongDoubleAndAnyThreads) {
  for (const int64_t count : {0, 1, 17, 16384, 100003}) {
    expect_same_for_any_threads([&](Exec& exec) {
      const Tensor x = random_tensor(exec, {count}, DType::kF32, 3);
      long double expected = 0;
      for (const double value : values_of(x)) expected += static_cast<long double>(value) * value;
      const double sum = sum_of_squares(x, exec);
      EXPECT_NEAR(sum, static_cast<double>(expected), 1e-13 * static_cast<double>(expected));
      const auto* bytes = reinterpret_cast<const uint8_t*>(&sum);
      return std::vector<uint8_t>(bytes, bytes + sizeof sum);
    });
  }
}

TEST(SumOfSquares, LetsInfinityAndNanThrough) {
  Exec exec;
  std::vector<double> values(50000, 0.5);
  values[49999] = std::numeric_limits<double>::infinity();
  EXPECT_EQ(sum_of_squares(tensor_of(exec, values, {50000}, DType::kF32), exec),
            std::numeric_limits<double>::infinity());
  values[3] = std::nan("");
  EXPECT_TRUE(std::isnan(sum_of_squares(tensor_of(exec, values, {50000}, DType::kF32), exec)));
  // Squares beyond the range of f32 are sums like any other.
  EXPECT_NEAR(sum_of_squares(tensor_of(exec, {1e30, 1e30}, {2}, DType::kF32), exec), 2e60, 1e54);
}

TEST(AdamwPerformance, Table) {
  if (!performance_wanted()) GTEST_SKIP() << "set MEGALITH_PERF=1";
  Exec exec;
  for (const int64_t count : {int64_t{11} << 20, int64_t{64} << 20}) {
    for (const DType param_dtype : {DType::kF32, DType::kBF16}) {
      const AdamwArgs args = make_args(exec, count, param_dtype);
      const int64_t bytes = count * (param_dtype == DType::kF32 ? 28 : 30);
      report_bandwidth(fmt::format("adamw {} param, {} Mi", name_of(param_dtype), count >> 20), bytes,
                       exec.num_threads(), [&] { adamw(args, exec); });
    }
    const Tensor x = random_tensor(exec, {count}, DType::kF32, 1);
    report_bandwidth(fmt::format("sum_of_squares {} Mi", count >> 20), x.nbytes(), exec.num_threads(),
                     [&] { sum_of_squares(x, exec); });
  }
}

}  // namespace
}  // namespace megalith
