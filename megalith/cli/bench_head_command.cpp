#include <cstdio>

#include "megalith/autograd/functions/linear_cross_entropy.h"
#include "megalith/cli/bench_rows.h"
#include "megalith/cli/commands.h"
#include "megalith/core/choose_device.h"
#include "megalith/ops/cross_entropy.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/gemm.h"

namespace megalith {
namespace {

struct BenchHeadOptions {
  std::vector<int64_t> size;
  int64_t chunk_rows = 0;
};

void declare_fields(BenchHeadOptions& c, FieldList& f) {
  f.add("size", c.size,
        {.help = "tokens, vocabulary and hidden size; by default 32768 131072 4096, on a CPU 1024 8192 512",
         .min = 1,
         .value_name = "T V H",
         .main = true});
  f.add("chunk_rows", c.chunk_rows,
        {.help = "rows of logits that are held at a time; 0: as in training", .min = 0});
}

struct Head {
  int64_t tokens, vocabulary, hidden;
};

// The weight's gradient is f32, as in training.
class BareProducts {
 public:
  BareProducts(const Head& s, const Tensor& x, const Tensor& weight, const Tensor& d_weight, Exec& e)
      : x_(x), weight_(weight), d_weight_(d_weight), exec_(e) {
    logits_ = random_values({s.tokens, s.vocabulary}, x.dtype(), e);
    d_x_ = e.empty(x.shape(), x.dtype());
  }
  void logits() const { gemm({.a = x_, .b = weight_, .c = logits_, .transpose_b = Transpose::kYes}, exec_); }
  void input_gradient() const { gemm({.a = logits_, .b = weight_, .c = d_x_}, exec_); }
  void weight_gradient() const {
    gemm({.a = logits_, .b = x_, .c = d_weight_, .transpose_a = Transpose::kYes}, exec_);
  }
  void all() const {
    logits();
    input_gradient();
    weight_gradient();
  }

 private:
  Tensor x_, weight_, d_weight_, logits_, d_x_;
  Exec& exec_;
};

void run_bench(const Head& s, DType dtype, int64_t chunk_rows, Exec& e) {
  ParameterStore store;
  Parameter& weight = store.add({"output.weight", {s.vocabulary, s.hidden}, Init::normal(0.02)});
  store.materialize(e, dtype);
  store.initialize(e);
  store.allocate_gradients(e);
  const Tensor x = random_values({s.tokens, s.hidden}, dtype, e);
  std::vector<int32_t> tokens(static_cast<size_t>(s.tokens));
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>(RngKey{1, 2}.bits(i) % static_cast<uint32_t>(s.vocabulary));
  LinearCrossEntropyArgs args{.labels = e.from_host(std::span<const int32_t>(tokens), {s.tokens}),
                              .loss_weights = e.zeros({s.tokens}, DType::kF32),
                              .chunk_rows = chunk_rows};
  fill(args.loss_weights, 1 / static_cast<double>(s.tokens), e);
  const Tensor d_loss = e.zeros({1}, DType::kF64);
  fill(d_loss, 1, e);
  const auto fused = [&] {
    store.mark_gradients_fresh();
    Tape tape(e);
    tape.backward(linear_cross_entropy(tape, tape.leaf(x), weight, args), d_loss);
  };

  const int64_t rows = chunk_rows > 0 ? chunk_rows : cross_entropy_chunk_rows(s.tokens, s.vocabulary);
  std::printf("head of %ld tokens, vocabulary %ld, hidden %ld, %s, %ld rows at a time\n", s.tokens,
              s.vocabulary, s.hidden, name_of(dtype), rows);
  const BareProducts bare(s, x, weight.data, weight.main_grad, e);
  const double operations =
      2 * static_cast<double>(s.tokens) * static_cast<double>(s.vocabulary) * static_cast<double>(s.hidden);
  const auto row = [&](const char* name, double products, const std::function<void()>& call) {
    const double seconds = seconds_per_call(call, e);
    std::printf("%-40s %10.2f ms %9.2f TFLOP/s\n", name, seconds * 1e3,
                products * operations / seconds * 1e-12);
    std::fflush(stdout);
    return seconds;
  };
  row("logits", 1, [&] { bare.logits(); });
  row("gradient of the input", 1, [&] { bare.input_gradient(); });
  row("gradient of the weight", 1, [&] { bare.weight_gradient(); });
  // Twice in turn: a GPU slows down as it grows hot.
  for (int round = 0; round < 2; ++round) {
    const double alone = row("the three products", 3, [&] { bare.all(); });
    const double whole = row("product and cross-entropy, both ways", 3, fused);
    std::printf("  %.1f %% of the speed of the products\n", 100 * alone / whole);
  }
}

void run_bench_head(CommandLine& line) {
  BenchOptions options;
  BenchHeadOptions head_options;
  line.add("head", "Head", head_options);
  line.add("bench", "Bench", options);
  if (!line.parse()) return;
  const std::vector<int64_t>& size = head_options.size;
  if (!size.empty() && size.size() != 3)
    throw UsageError(fmt::format("--size takes three numbers, T V H; {} are given", size.size()));
  Exec exec({.device = choose_device(options.device), .num_threads = static_cast<int>(options.num_threads)});
  Head head = exec.device().is_cuda() ? Head{32768, 131072, 4096} : Head{1024, 8192, 512};
  if (!size.empty()) head = {size[0], size[1], size[2]};
  run_bench(head, parse_dtype(options.dtype), head_options.chunk_rows, exec);
}

}  // namespace

Command bench_head_command() {
  return {.name = "bench head",
          .summary = "Time the head with its cross-entropy, forward and backward, beside its bare products.",
          .examples = {"megalith bench head --device cuda", "megalith bench head --size 32768 32000 2048"},
          .run = run_bench_head};
}

}  // namespace megalith
