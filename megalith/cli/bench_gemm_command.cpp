#include <cstdio>

#include "megalith/cli/bench_rows.h"
#include "megalith/cli/commands.h"
#include "megalith/core/choose_device.h"
#include "megalith/ops/gemm.h"

namespace megalith {
namespace {

struct BenchGemmOptions {
  std::vector<int64_t> size;
};

void declare_fields(BenchGemmOptions& c, FieldList& f) {
  f.add("size", c.size,
        {.help = "one product M N K instead of those of a training step",
         .min = 1,
         .value_name = "M N K",
         .main = true});
}

struct Product {
  const char* name;
  int64_t m, n, k;
  Transpose a, b;
};

// The products of a Llama-style layer of 1.1 G parameters, batch 8 x 4096; smaller ones on a CPU.
std::vector<Product> products_of_a_step(int64_t tokens, int64_t hidden, int64_t ffn, int64_t qkv) {
  constexpr Transpose kNo = Transpose::kNo, kYes = Transpose::kYes;
  return {{"qkv", tokens, qkv, hidden, kNo, kYes},
          {"proj", tokens, hidden, hidden, kNo, kYes},
          {"fc1", tokens, 2 * ffn, hidden, kNo, kYes},
          {"fc2", tokens, hidden, ffn, kNo, kYes},
          {"fc1, gradient of its input", tokens, hidden, 2 * ffn, kNo, kNo},
          {"fc2, gradient of its input", tokens, ffn, hidden, kNo, kNo},
          {"fc1, gradient of its weight", 2 * ffn, hidden, tokens, kYes, kNo},
          {"fc2, gradient of its weight", hidden, ffn, tokens, kYes, kNo},
          {"one token, fc1", 1, 2 * ffn, hidden, kNo, kYes},
          {"four tokens, fc1", 4, 2 * ffn, hidden, kNo, kYes}};
}

// A gradient of a weight is f32, as in training.
double seconds_of(const Product& p, DType dtype, Exec& e) {
  const DType out_dtype = p.a == Transpose::kYes ? DType::kF32 : dtype;
  const Tensor a = random_values(p.a == Transpose::kYes ? Shape{p.k, p.m} : Shape{p.m, p.k}, dtype, e);
  const Tensor b = random_values(p.b == Transpose::kYes ? Shape{p.n, p.k} : Shape{p.k, p.n}, dtype, e);
  const Tensor c = e.empty({p.m, p.n}, out_dtype);
  return seconds_per_call([&] { gemm({.a = a, .b = b, .c = c, .transpose_a = p.a, .transpose_b = p.b}, e); },
                          e);
}

void run_bench_gemm(CommandLine& line) {
  BenchOptions options;
  BenchGemmOptions gemm_options;
  line.add("gemm", "Products", gemm_options);
  line.add("bench", "Bench", options);
  if (!line.parse()) return;
  if (!gemm_options.size.empty() && gemm_options.size.size() != 3)
    throw UsageError(
        fmt::format("--size takes three numbers, M N K; {} are given", gemm_options.size.size()));
  Exec exec({.device = choose_device(options.device), .num_threads = static_cast<int>(options.num_threads)});
  const DType dtype = parse_dtype(options.dtype);
  const Ceilings ceilings = measure_ceilings(dtype, exec);
  std::vector<Product> products = exec.device().is_cuda() ? products_of_a_step(32768, 2048, 8192, 4096)
                                                          : products_of_a_step(512, 512, 1408, 1024);
  if (!gemm_options.size.empty()) {
    const auto& s = gemm_options.size;
    products = {{"M N K", s[0], s[1], s[2], Transpose::kNo, Transpose::kYes}};
  }
  std::printf("a large product: %.2f TFLOP/s; a large copy: %.1f GB/s\n%-28s %6s x %6s x %6s %10s %9s %10s\n",
              ceilings.product_flops * 1e-12, ceilings.copy_bytes * 1e-9, "product", "M", "N", "K", "us",
              "TFLOP/s", "of its limit");
  for (const Product& p : products) {
    const double seconds = seconds_of(p, dtype, exec);
    const auto m = static_cast<double>(p.m), n = static_cast<double>(p.n), k = static_cast<double>(p.k);
    const auto item = static_cast<double>(size_of(dtype));
    const double floor = std::max(2 * m * n * k / ceilings.product_flops,
                                  item * (m * k + n * k + m * n) / ceilings.copy_bytes);
    std::printf("%-28s %6ld x %6ld x %6ld %10.1f %9.2f %8.0f %%\n", p.name, p.m, p.n, p.k, seconds * 1e6,
                2 * m * n * k / seconds * 1e-12, 100 * floor / seconds);
    std::fflush(stdout);
  }
}

}  // namespace

Command bench_gemm_command() {
  return {.name = "bench gemm",
          .summary = "Time matrix products of a training step, beside a large one and a large copy.",
          .examples = {"megalith bench gemm --device cuda", "megalith bench gemm --size 4096 4096 4096"},
          .run = run_bench_gemm};
}

}  // namespace megalith
