#include <cmath>
#include <cstdio>

#include "megalith/cli/bench_rows.h"
#include "megalith/cli/commands.h"
#include "megalith/core/choose_device.h"
#include "megalith/ops/attention.h"

namespace megalith {
namespace {

struct Case {
  int64_t batch, queries, keys, heads, kv_heads, head_dim;
};

struct Problem {
  Problem(const Case& c, DType dtype, Exec& e) {
    const auto rows = [&](int64_t tokens, int64_t heads) {
      return random_values({c.batch, tokens, heads, c.head_dim}, dtype, e);
    };
    args = {.q = rows(c.queries, c.heads),
            .k = rows(c.keys, c.kv_heads),
            .v = rows(c.keys, c.kv_heads),
            .scale = 1 / std::sqrt(static_cast<double>(c.head_dim)),
            .first_key = {},
            .num_keys = {},
            .rng = {},
            .out = rows(c.queries, c.heads),
            .lse = e.empty({c.batch, c.heads, c.queries}, DType::kF32)};
  }
  AttentionArgs args;
};

// Two products of the visible half of the scores, in operations.
double forward_flops(const Case& c) {
  return 2.0 * static_cast<double>(c.batch * c.heads * c.queries) * static_cast<double>(c.keys * c.head_dim);
}

void bench_training(const std::vector<Case>& cases, DType dtype, const Ceilings& ceilings, Exec& e) {
  std::printf("a large product: %.2f TFLOP/s\ncausal training %12s %8s %12s %12s %8s %12s\n",
              ceilings.product_flops * 1e-12, "forward ms", "TFLOP/s", "of product", "backward ms", "TFLOP/s",
              "of product");
  for (const Case& c : cases) {
    const Problem p(c, dtype, e);
    const double forward = seconds_per_call([&] { attention(p.args, e); }, e);
    const AttentionBackwardArgs gradients{.forward = p.args,
                                          .d_out = random_values(p.args.q.shape(), dtype, e),
                                          .d_q = e.empty(p.args.q.shape(), dtype),
                                          .d_k = e.empty(p.args.k.shape(), dtype),
                                          .d_v = e.empty(p.args.v.shape(), dtype)};
    const double backward = seconds_per_call([&] { attention_backward(gradients, e); }, e);
    const double rate = forward_flops(c) / forward, backward_rate = 2.5 * forward_flops(c) / backward;
    std::printf("B%ld S%ld H%ld/%ld D%ld: %.3f  %.1f  %.0f %%   %.3f  %.1f  %.0f %%\n", c.batch, c.queries,
                c.heads, c.kv_heads, c.head_dim, forward * 1e3, rate * 1e-12,
                100 * rate / ceilings.product_flops, backward * 1e3, backward_rate * 1e-12,
                100 * backward_rate / ceilings.product_flops);
    std::fflush(stdout);
  }
}

void bench_decode(const std::vector<Case>& cases, DType dtype, const Ceilings& ceilings, Exec& e) {
  std::printf("a large copy: %.1f GB/s\none query over a cache %10s %10s %12s\n", ceilings.copy_bytes * 1e-9,
              "us", "GB/s", "of a copy");
  for (const Case& c : cases) {
    const Problem p(c, dtype, e);
    const double seconds = seconds_per_call([&] { attention(p.args, e); }, e);
    const double rate = static_cast<double>(p.args.k.nbytes() + p.args.v.nbytes()) / seconds;
    std::printf("B%ld keys %ld H%ld/%ld D%ld: %.1f  %.1f  %.0f %%\n", c.batch, c.keys, c.heads, c.kv_heads,
                c.head_dim, seconds * 1e6, rate * 1e-9, 100 * rate / ceilings.copy_bytes);
    std::fflush(stdout);
  }
}

void run_bench_attention(CommandLine& line) {
  BenchOptions options;
  line.add("bench", "Bench", options);
  if (!line.parse()) return;
  Exec exec({.device = choose_device(options.device), .num_threads = static_cast<int>(options.num_threads)});
  const DType dtype = parse_dtype(options.dtype);
  const Ceilings ceilings = measure_ceilings(dtype, exec);
  if (exec.device().is_cuda()) {
    bench_training({{8, 4096, 4096, 32, 32, 128},
                    {8, 4096, 4096, 32, 8, 128},
                    {8, 4096, 4096, 16, 8, 128},
                    {2, 16384, 16384, 32, 32, 128},
                    {8, 4096, 4096, 32, 32, 64}},
                   dtype, ceilings, exec);
    bench_decode({{1, 1, 4096, 16, 8, 128}, {1, 1, 32768, 32, 8, 128}, {32, 1, 8192, 32, 8, 128}}, dtype,
                 ceilings, exec);
  } else {
    bench_training({{2, 512, 512, 8, 8, 64}, {2, 512, 512, 8, 2, 64}}, dtype, ceilings, exec);
    bench_decode({{1, 1, 4096, 8, 2, 64}}, dtype, ceilings, exec);
  }
}

}  // namespace

Command bench_attention_command() {
  return {.name = "bench attention",
          .summary = "Time attention, forward, backward and over a cache, beside its limits.",
          .examples = {"megalith bench attention --device cuda"},
          .run = run_bench_attention};
}

}  // namespace megalith
