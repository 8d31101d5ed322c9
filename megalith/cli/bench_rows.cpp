#include "megalith/cli/bench_rows.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "megalith/ops/elementwise.h"
#include "megalith/ops/gemm.h"
#include "megalith/ops/random_fill.h"

namespace megalith {
namespace {

double seconds_of_calls(int count, const std::function<void()>& call, Exec& exec) {
  exec.synchronize();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) call();
  exec.synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / count;
}

}  // namespace

void declare_fields(BenchOptions& c, FieldList& f) {
  f.add("device", c.device, {.help = "auto (a GPU where there is one), cpu, cuda, cuda:N", .main = true});
  f.add("dtype", c.dtype, {.help = "of activations and weights", .allowed = {"f32", "bf16"}, .main = true});
  f.add("num_threads", c.num_threads, {.help = "0: OMP_NUM_THREADS or all cores", .min = 0});
}

double seconds_per_call(const std::function<void()>& call, Exec& exec) {
  constexpr double kRoundSeconds = 0.01;
  constexpr int kRounds = 7;
  seconds_of_calls(2, call, exec);
  const double estimate = seconds_of_calls(2, call, exec);
  const int calls = std::clamp(static_cast<int>(kRoundSeconds / estimate), 1, 1000);
  std::vector<double> rounds;
  for (int i = 0; i < kRounds; ++i) rounds.push_back(seconds_of_calls(calls, call, exec));
  std::sort(rounds.begin(), rounds.end());
  return rounds[kRounds / 2];
}

Tensor random_values(const Shape& shape, DType dtype, Exec& exec) {
  const Tensor x = exec.empty(shape, dtype);
  fill_normal({.x = x, .rng = {3, static_cast<uint64_t>(shape.numel())}}, exec);
  return x;
}

Ceilings measure_ceilings(DType dtype, Exec& exec) {
  Ceilings result;
  {
    const int64_t count = exec.device().is_cuda() ? int64_t{1} << 29 : int64_t{1} << 25;
    const Tensor from = random_values({count}, DType::kF32, exec), to = exec.empty({count}, DType::kF32);
    result.copy_bytes =
        2 * static_cast<double>(to.nbytes()) / seconds_per_call([&] { copy(from, to, exec); }, exec);
  }
  const int64_t size = exec.device().is_cuda() ? 8192 : 1024;
  const Tensor a = random_values({size, size}, dtype, exec), b = random_values({size, size}, dtype, exec);
  const Tensor c = exec.empty({size, size}, dtype);
  const auto n = static_cast<double>(size);
  const auto product = [&] { gemm({.a = a, .b = b, .c = c, .transpose_b = Transpose::kYes}, exec); };
  result.product_flops = 2 * n * n * n / seconds_per_call(product, exec);
  return result;
}

}  // namespace megalith
