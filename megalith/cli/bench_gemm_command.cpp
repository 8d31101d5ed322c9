#include <cstdio>

#include "megalith/cli/bench_rows.h"
#include "megalith/cli/commands.h"
#include "megalith/core/choose_device.h"
#include "megalith/ops/activation.h"
#include "megalith/ops/gemm.h"
#include "megalith/ops/linear_swiglu.h"

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

constexpr size_t kFc1 = 2;  // of these

// A gradient of a weight is f32, as in training.
double seconds_of(const Product& p, DType dtype, Exec& e) {
  const DType out_dtype = p.a == Transpose::kYes ? DType::kF32 : dtype;
  const Tensor a = random_values(p.a == Transpose::kYes ? Shape{p.k, p.m} : Shape{p.m, p.k}, dtype, e);
  const Tensor b = random_values(p.b == Transpose::kYes ? Shape{p.n, p.k} : Shape{p.k, p.n}, dtype, e);
  const Tensor c = e.empty({p.m, p.n}, out_dtype);
  return seconds_per_call([&] { gemm({.a = a, .b = b, .c = c, .transpose_a = p.a, .transpose_b = p.b}, e); },
                          e);
}

void print_row(const char* name, const Product& p, double bytes, double seconds, const Ceilings& ceilings) {
  const double operations =
      2 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  const double floor = std::max(operations / ceilings.product_flops, bytes / ceilings.copy_bytes);
  std::printf("%-28s %6ld x %6ld x %6ld %10.1f %9.2f %8.0f %%\n", name, p.m, p.n, p.k, seconds * 1e6,
              operations / seconds * 1e-12, 100 * floor / seconds);
  std::fflush(stdout);
}

// SwiGLU behind fc1, and its backward behind the product that gives its gradient: in one call, which may be
// one kernel, and as two.
void print_swiglu_rows(const Product& fc1, DType dtype, const Ceilings& ceilings, Exec& e) {
  const int64_t tokens = fc1.m, hidden = fc1.k, ffn = fc1.n / 2;
  const Tensor x = random_values({tokens, hidden}, dtype, e), w1 = random_values({2 * ffn, hidden}, dtype, e);
  const Tensor w2 = random_values({hidden, ffn}, dtype, e), pre = random_values({tokens, 2 * ffn}, dtype, e);
  const Tensor y = e.empty({tokens, ffn}, dtype), d_pre = e.empty({tokens, 2 * ffn}, dtype);
  const Product gradient{"", tokens, ffn, hidden, Transpose::kNo, Transpose::kNo};
  const auto bytes = [](std::initializer_list<const Tensor*> tensors) {
    double sum = 0;
    for (const Tensor* tensor : tensors) sum += static_cast<double>(tensor->nbytes());
    return sum;
  };
  const double forward_bytes = bytes({&x, &w1, &pre, &y}), backward_bytes = bytes({&x, &w2, &pre, &d_pre});
  const auto row = [&](const char* name, const Product& p, double moved, const std::function<void()>& call) {
    print_row(name, p, moved, seconds_per_call(call, e), ceilings);
  };
  row("fc1 and SwiGLU", fc1, forward_bytes,
      [&] { linear_swiglu({.x = x, .weight = w1, .pre = pre, .y = y}, e); });
  row("  as two", fc1, forward_bytes, [&] {
    gemm({.a = x, .b = w1, .c = pre, .transpose_b = Transpose::kYes}, e);
    activation(ActivationKind::kSwiglu, pre, y, e);
  });
  row("fc2's and SwiGLU's gradients", gradient, backward_bytes,
      [&] { swiglu_linear_backward_input({.d_out = x, .weight = w2, .pre = pre, .d_pre = d_pre}, e); });
  row("  as two", gradient, backward_bytes, [&] {
    gemm({.a = x, .b = w2, .c = y}, e);
    activation_backward(ActivationKind::kSwiglu, pre, y, d_pre, e);
  });
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
    const auto m = static_cast<double>(p.m), n = static_cast<double>(p.n), k = static_cast<double>(p.k);
    const double bytes = static_cast<double>(size_of(dtype)) * (m * k + n * k + m * n);
    print_row(p.name, p, bytes, seconds_of(p, dtype, exec), ceilings);
  }
  if (gemm_options.size.empty()) print_swiglu_rows(products[kFc1], dtype, ceilings, exec);
}

}  // namespace

Command bench_gemm_command() {
  return {.name = "bench gemm",
          .summary = "Time matrix products of a training step, beside a large one and a large copy.",
          .examples = {"megalith bench gemm --device cuda", "megalith bench gemm --size 4096 4096 4096"},
          .run = run_bench_gemm};
}

}  // namespace megalith
