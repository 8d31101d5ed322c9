// Training steps: two small models on the CPU and one large on a GPU, the same as PyTorch scripts run them:
//   tiny: Llama-style, vocabulary 8192, hidden 256, 8 layers, 8 heads, SwiGLU 768, sequence 256, batch 16 (11
//   M parameters) gpt2: GPT-2 124M (LayerNorm, GELU, learned positions, tied head), sequence 256, batch 4
//
//   llama1b: Llama-style 1.14 G parameters (vocabulary 32,000, hidden 2048, 16 layers, 16 heads, 8 groups,
//   SwiGLU 8192), sequence 4096, batch 8, on a GPU
//
//     OMP_NUM_THREADS=2 bench_train_step [tiny|gpt2|all|llama1b] [f32|bf16] [tune FILE]
//
// Prints the median step, tokens/s, TFLOP/s, where the time goes, the share of the bare matrix products at
// the best rate of a large one in the same run, and the peak memory. On a GPU, "tune FILE" then times other
// algorithms for the matrix products of the step, writes the better ones to FILE, and runs the steps again.

#include "megalith/train/train_step.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>

#include <sys/resource.h>

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/gemm.h"
#include "megalith/models/gpt/gpt_model.h"
#include "megalith/ops/gemm.h"
#include "megalith/ops/random_fill.h"

namespace megalith {
namespace {

struct Case {
  std::string name;
  GptConfig model;
  int64_t batch = 0;
  int64_t seq = 256;
  int steps = 0;
  Device device;
};

Case tiny() {
  Case c{.name = "tiny", .batch = 16, .steps = 20};
  c.model.num_layers = 8;
  c.model.hidden_size = 256;
  c.model.num_attention_heads = 8;
  c.model.ffn_hidden_size = 768;
  c.model.vocab_size = 8192;
  c.model.position_embedding_type = "rope";
  c.model.normalization = "RMSNorm";
  c.model.swiglu = true;
  c.model.add_bias_linear = false;
  c.model.untie_embeddings_and_output_weights = true;
  return c;
}

Case gpt2() {
  Case c{.name = "gpt2", .batch = 4, .steps = 7};
  c.model.num_layers = 12;
  c.model.hidden_size = 768;
  c.model.num_attention_heads = 12;
  c.model.vocab_size = 50257;
  c.model.make_vocab_size_divisible_by = 1;
  return c;
}

Case llama1b() {
  Case c{.name = "llama1b", .batch = 8, .seq = 4096, .steps = 25, .device = {DeviceKind::kCuda, 0}};
  c.model.num_layers = 16;
  c.model.hidden_size = 2048;
  c.model.num_attention_heads = 16;
  c.model.num_query_groups = 8;
  c.model.ffn_hidden_size = 8192;
  c.model.vocab_size = 32000;
  c.model.position_embedding_type = "rope";
  c.model.normalization = "RMSNorm";
  c.model.swiglu = true;
  c.model.add_bias_linear = false;
  c.model.untie_embeddings_and_output_weights = true;
  return c;
}

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Best GFLOP/s of a large product, the ceiling of everything below.
double gemm_rate(Device device, DType dtype) {
  Exec exec({.device = device});
  const int64_t size = device.is_cuda() ? 8192 : 1536;
  const Tensor a = exec.empty({size, size}, dtype), b = exec.empty({size, size}, dtype);
  const Tensor c = exec.empty({size, size}, dtype);
  for (const Tensor& x : {a, b}) fill_normal({.x = x, .rng = exec.rng()}, exec);
  double best_ms = 1e30;
  for (int i = 0; i < 6; ++i) {
    exec.synchronize();
    const auto begin = std::chrono::steady_clock::now();
    gemm({.a = a, .b = b, .c = c, .transpose_b = Transpose::kYes}, exec);
    exec.synchronize();
    best_ms = std::min(best_ms, milliseconds_since(begin));
  }
  const auto n = static_cast<double>(size);
  return 2 * n * n * n / best_ms * 1e-6;
}

// The most that was held at one time, in GiB: of the GPU, or of the process.
double peak_gib(Exec& exec) {
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) {
      const CudaMemory memory = cuda_memory(exec.device().index);
      return static_cast<double>(memory.total_bytes - memory.free_bytes) / (1 << 30);
    }
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);
}

void run(Case c, DType dtype, const std::string& tuned_file) {
  const double gflops = gemm_rate(c.device, c.device.is_cuda() ? dtype : DType::kF32);
  c.model.hidden_dropout = c.model.attention_dropout = 0;
  c.model.max_position_embeddings = c.seq;
  c.model.bf16 = dtype == DType::kBF16;
  TrainConfig train;
  train.train_iters = 1000;
  train.micro_batch_size = c.batch;
  OptimConfig optim;
  optim.lr = 1e-3;
  optim.lr_decay_style = "constant";

  Exec exec({.device = c.device});
  GptModel model(c.model, exec);
  model.parameters().initialize(exec);
  model.parameters().allocate_gradients(exec);
  AdamW optimizer(model.parameters(), optim, exec);
  const ParamSchedule schedule(optim, {.train_samples = 1000 * c.batch, .samples_per_iteration = c.batch});
  const Mesh mesh;
  TrainStep step({.model = &model, .optimizer = &optimizer, .schedule = &schedule, .mesh = &mesh}, train,
                 optim.clip_grad);

  int64_t draws = 0;
  HostBatch drawn;
  const auto random_batch = [&](HostBatch& batch) {
    if (c.device.is_cuda() && draws > 0) {
      batch = drawn;  // the step is measured, not the generator
      return;
    }
    resize_batch(batch, c.batch, c.seq);
    std::vector<int32_t> text(static_cast<size_t>(c.seq) + 1);
    for (int64_t row = 0; row < c.batch; ++row) {
      for (int32_t& token : text) {
        token = static_cast<int32_t>(exec.rng().bits(static_cast<uint64_t>(draws++)) %
                                     static_cast<uint32_t>(c.model.vocab_size));
      }
      fill_row(batch, row, text, {});
    }
    finish_batch(batch);
    drawn = batch;
  };

  const auto measure = [&] {
    std::vector<double> step_ms, data_ms, forward_ms, backward_ms, optimizer_ms;
    for (int i = 0; i < c.steps + 3; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      const StepResult result = step.run(i + 1, 0, random_batch, exec);
      exec.synchronize();
      if (i < 3) continue;
      step_ms.push_back(milliseconds_since(begin));
      forward_ms.push_back(result.forward_ms);
      backward_ms.push_back(result.backward_ms);
      data_ms.push_back(result.data_ms);
      optimizer_ms.push_back(step_ms.back() - result.data_ms - result.forward_ms - result.backward_ms);
    }
    const double ms = median(step_ms);
    const auto tokens = static_cast<double>(c.batch * c.seq);
    const double floor_ms = model.flops_per_token(c.seq).true_work * tokens / gflops * 1e-6;
    const double tflops = model.flops_per_token(c.seq).true_work * tokens / ms * 1e-9;
    std::printf(
        "%s %s: %.1f M parameters, %.1f ms/step, %.0f tok/s, %.2f TFLOP/s (%.2f by Megatron's formula); data "
        "%.1f, "
        "forward %.1f, backward %.1f, optimizer %.1f ms; matrix products alone at %.0f GFLOP/s: %.1f ms = "
        "%.0f "
        "%%; "
        "peak %.2f GiB (%.2f GiB in tensors), %s\n",
        c.name.c_str(), name_of(dtype), static_cast<double>(model.parameters().num_elements()) * 1e-6, ms,
        tokens / ms * 1e3, tflops, model.flops_per_token(c.seq).megatron * tokens / ms * 1e-9,
        median(data_ms), median(forward_ms), median(backward_ms), median(optimizer_ms), gflops, floor_ms,
        100 * floor_ms / ms, peak_gib(exec), static_cast<double>(exec.ledger().peak_bytes()) / (1 << 30),
        c.device.is_cuda() ? exec.cuda().limits().name.c_str()
                           : fmt::format("{} threads, {}", exec.num_threads(), name_of(exec.isa())).c_str());
    std::fflush(stdout);
  };
  measure();
  if constexpr (kHasCuda) {
    if (c.device.is_cuda()) {
      std::printf("memory by owner:\n%smatrix products:\n%s", exec.ledger().report().c_str(),
                  cuda::describe_gemm_plans(exec).c_str());
      if (!tuned_file.empty()) {
        std::ofstream(tuned_file) << cuda::tune_gemm_plans({}, exec);
        measure();
      }
    }
  }
  std::fflush(stdout);
}

}  // namespace
}  // namespace megalith

int main(int argc, char** argv) {
  const std::string which = argc > 1 ? argv[1] : "all";
  const megalith::DType dtype = argc > 2 ? megalith::parse_dtype(argv[2]) : megalith::DType::kF32;
  const std::string tuned_file = argc > 4 && std::string(argv[3]) == "tune" ? argv[4] : "";
  if (which == "tiny" || which == "all") megalith::run(megalith::tiny(), dtype, tuned_file);
  if (which == "gpt2" || which == "all") megalith::run(megalith::gpt2(), dtype, tuned_file);
  if (which == "llama1b") megalith::run(megalith::llama1b(), dtype, tuned_file);
}
