#include <cstdio>

#include "megalith/cli/bench_rows.h"
#include "megalith/cli/commands.h"
#include "megalith/core/choose_device.h"
#include "megalith/ops/activation.h"
#include "megalith/ops/adamw.h"
#include "megalith/ops/cross_entropy.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/embedding.h"
#include "megalith/ops/norm.h"
#include "megalith/ops/rope.h"

namespace megalith {
namespace {

// Sizes of a training step, small enough for the device.
struct Sizes {
  int64_t tokens, hidden, ffn, vocabulary, parameters;
};

class Table {
 public:
  Table(const Ceilings& ceilings, Exec& exec) : ceilings_(ceilings), exec_(exec) {
    std::printf("a large copy: %.1f GB/s\n%-28s %12s %10s %10s\n", ceilings.copy_bytes * 1e-9, "kernel", "us",
                "GB/s", "of a copy");
  }
  /// `bytes` must be read and written at least.
  void row(const char* name, double bytes, const std::function<void()>& call) {
    const double rate = bytes / seconds_per_call(call, exec_);
    std::printf("%-28s %12.1f %10.1f %8.0f %%\n", name, bytes / rate * 1e6, rate * 1e-9,
                100 * rate / ceilings_.copy_bytes);
    std::fflush(stdout);
  }

 private:
  Ceilings ceilings_;
  Exec& exec_;
};

void bench_rows_of_layers(const Sizes& s, DType dtype, Table& table, Exec& e) {
  const auto item = static_cast<double>(size_of(dtype));
  const double row_bytes = item * static_cast<double>(s.tokens * s.hidden);
  const auto rows = [&] { return random_values({s.tokens, s.hidden}, dtype, e); };
  const Tensor a = rows(), b = rows(), c = rows(), sum = rows();
  table.row("add", 3 * row_bytes, [&] { add(a, b, c, e); });
  const Tensor wide = e.empty({s.tokens, s.hidden}, DType::kF32);
  table.row("cast to f32", row_bytes + 4 * row_bytes / item, [&] { copy(a, wide, e); });
  const Tensor factors = random_values({s.tokens}, DType::kF32, e);
  table.row("scale rows", 2 * row_bytes, [&] { scale_rows(a, factors, c, e); });

  const Tensor weight = random_values({s.hidden}, dtype, e), rstd = e.empty({s.tokens}, DType::kF32);
  table.row("rmsnorm", 2 * row_bytes, [&] { norm({.x = a, .weight = weight, .y = c, .rstd = rstd}, e); });
  table.row("rmsnorm with residual", 4 * row_bytes,
            [&] { norm({.x = a, .residual = b, .weight = weight, .sum = sum, .y = c, .rstd = rstd}, e); });
  const Tensor d_weight = e.zeros({s.hidden}, DType::kF32);
  table.row("rmsnorm backward, d_sum", 4 * row_bytes, [&] {
    norm_backward(
        {.d_y = a, .d_sum = b, .x = sum, .weight = weight, .rstd = rstd, .d_x = c, .d_weight = d_weight}, e);
  });
  table.row("rmsnorm backward", 3 * row_bytes, [&] {
    norm_backward({.d_y = a, .x = sum, .weight = weight, .rstd = rstd, .d_x = c, .d_weight = d_weight}, e);
  });
  const Tensor bias_grad = e.empty({s.hidden}, DType::kF32);
  table.row("sum of rows", row_bytes, [&] { sum_rows({.x = a, .out = bias_grad}, e); });
}

void bench_heads_and_mlp(const Sizes& s, DType dtype, Table& table, Exec& e) {
  const auto item = static_cast<double>(size_of(dtype));
  constexpr int64_t kHeads = 32, kTurned = 24, kHeadDim = 128, kPositions = 4096;
  const Tensor qkv = random_values({s.tokens, kHeads, kHeadDim}, dtype, e);
  const Tensor cosine = random_values({kPositions, kHeadDim / 2}, DType::kF32, e),
               sine = random_values({kPositions, kHeadDim / 2}, DType::kF32, e);
  std::vector<int32_t> places(static_cast<size_t>(s.tokens));
  for (size_t i = 0; i < places.size(); ++i) places[i] = static_cast<int32_t>(i % kPositions);
  const Tensor positions = e.from_host(std::span<const int32_t>(places), {s.tokens});
  table.row("rope, 24 of 32 heads", 2 * item * static_cast<double>(s.tokens * kTurned * kHeadDim), [&] {
    rope({.x = qkv.slice(1, 0, kTurned), .cos = cosine, .sin = sine, .positions = positions}, e);
  });

  const Tensor fc1 = random_values({s.tokens, 2 * s.ffn}, dtype, e), d_fc1 = e.empty(fc1.shape(), dtype),
               act = random_values({s.tokens, s.ffn}, dtype, e);
  const double ffn_bytes = item * static_cast<double>(s.tokens * s.ffn);
  table.row("swiglu", 3 * ffn_bytes, [&] { activation(ActivationKind::kSwiglu, fc1, act, e); });
  table.row("swiglu backward", 5 * ffn_bytes,
            [&] { activation_backward(ActivationKind::kSwiglu, fc1, act, d_fc1, e); });
}

void bench_vocabulary(const Sizes& s, DType dtype, Table& table, Exec& e) {
  const auto item = static_cast<double>(size_of(dtype));
  std::vector<int32_t> tokens(static_cast<size_t>(s.tokens));
  std::vector<bool> is_met(static_cast<size_t>(s.vocabulary));
  int64_t rows_met = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<int32_t>(RngKey{1, 2}.bits(i) % static_cast<uint32_t>(s.vocabulary));
    rows_met += is_met[static_cast<size_t>(tokens[i])] ? 0 : 1;
    is_met[static_cast<size_t>(tokens[i])] = true;
  }
  const Tensor ids = e.from_host(std::span<const int32_t>(tokens), {s.tokens});
  const Tensor weight = random_values({s.vocabulary, s.hidden}, dtype, e);
  const Tensor d_weight = e.zeros({s.vocabulary, s.hidden}, DType::kF32);
  const Tensor x = random_values({s.tokens, s.hidden}, dtype, e);
  const double row_bytes = item * static_cast<double>(s.tokens * s.hidden);
  table.row("embedding", 2 * row_bytes, [&] { embedding({.ids = ids, .table = weight, .out = x}, e); });
  // Rows that are met are read and written in f32, the rest is not touched.
  table.row("embedding backward", row_bytes + 8.0 * static_cast<double>(rows_met * s.hidden),
            [&] { embedding_backward({.ids = ids, .d_out = x, .d_table = d_weight}, e); });
  const Tensor logits = random_values({s.tokens, s.vocabulary}, dtype, e),
               loss = e.empty({s.tokens}, DType::kF32);
  table.row("cross-entropy, in place", 2 * item * static_cast<double>(s.tokens * s.vocabulary),
            [&] { cross_entropy({.logits = logits, .labels = ids, .loss = loss, .d_logits = logits}, e); });
}

void bench_optimizer(const Sizes& s, DType dtype, Table& table, Exec& e) {
  const auto values = [&] { return random_values({s.parameters}, DType::kF32, e); };
  const Tensor master = values(), grad = values();
  const Tensor m = e.zeros({s.parameters}, DType::kF32), v = e.zeros({s.parameters}, DType::kF32);
  const Tensor param = dtype == DType::kF32 ? Tensor() : e.zeros({s.parameters}, dtype);
  const double bytes = 28 + (param.defined() ? static_cast<double>(size_of(dtype)) : 0);
  table.row("adamw", bytes * static_cast<double>(s.parameters), [&] {
    adamw({.param = param, .master = master, .grad = grad, .exp_avg = m, .exp_avg_sq = v, .lr = 1e-4}, e);
  });
  table.row("sum of squares", 4.0 * static_cast<double>(s.parameters), [&] { sum_of_squares(grad, e); });
}

void run_bench_kernels(CommandLine& line) {
  BenchOptions options;
  line.add("bench", "Bench", options);
  if (!line.parse()) return;
  Exec exec({.device = choose_device(options.device), .num_threads = static_cast<int>(options.num_threads)});
  const DType dtype = parse_dtype(options.dtype);
  const Sizes sizes = exec.device().is_cuda() ? Sizes{32768, 2048, 8192, 32000, 256'000'000}
                                              : Sizes{1024, 1024, 2816, 8192, 4'000'000};
  Table table(measure_ceilings(dtype, exec), exec);
  bench_rows_of_layers(sizes, dtype, table, exec);
  bench_heads_and_mlp(sizes, dtype, table, exec);
  bench_vocabulary(sizes, dtype, table, exec);
  bench_optimizer(sizes, dtype, table, exec);
}

}  // namespace

Command bench_kernels_command() {
  return {.name = "bench kernels",
          .summary = "Time the kernels that only move bytes, beside a large copy.",
          .examples = {"megalith bench kernels --device cuda", "megalith bench kernels --dtype f32"},
          .run = run_bench_kernels};
}

}  // namespace megalith
