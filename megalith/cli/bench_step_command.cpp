#include <algorithm>
#include <chrono>
#include <cstdio>

#include <sys/resource.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/log.h"
#include "megalith/cli/bench_rows.h"
#include "megalith/cli/commands.h"
#include "megalith/core/choose_device.h"
#include "megalith/core/has_cuda.h"
#include "megalith/core/memory/activation_arena.h"
#include "megalith/kernels/cuda/gemm.h"
#include "megalith/models/gpt/gpt_model.h"
#include "megalith/ops/attention.h"
#include "megalith/ops/gemm.h"
#include "megalith/train/train_step.h"

namespace megalith {
namespace {

struct BenchStepOptions {
  std::string model = "tiny";
  int64_t steps = 0;
  std::string tune;
  std::string tune_effort = "quick";
  int64_t cpu_offloading_num_layers = 0;
  std::string recompute_granularity = "none";
  std::vector<std::string> recompute_modules = TrainConfig().recompute_modules;
  bool activation_arena = false;
  std::string cuda_graph_impl = "none";
  std::string main_grads_dtype = "fp32";
  bool allow_tf32 = false;
  bool deterministic_mode = false;
};

void declare_fields(BenchStepOptions& c, FieldList& f) {
  f.add("model", c.model,
        {.help = "tiny: Llama-style, 11 M parameters, batch 16 x 256; gpt2: 124 M, batch 4 x 256; llama1b: "
                 "Llama-style, 1.14 G, batch 8 x 4096, for a GPU",
         .allowed = {"tiny", "gpt2", "llama1b"},
         .main = true,
         .positional = true});
  f.add("steps", c.steps,
        {.help = "that are timed, behind three others; 0: by the model", .min = 0, .main = true});
  f.add("cpu_offloading_num_layers", c.cpu_offloading_num_layers,
        {.help = "as in train: what the backward of the first layers needs waits in host memory", .min = 0});
  f.add("recompute_granularity", c.recompute_granularity,
        {.help = "as in train", .allowed = {"none", "selective", "full"}});
  f.add("recompute_modules", c.recompute_modules, {.help = "as in train: layernorm, mlp_act"});
  f.add("activation_arena", c.activation_arena, {.help = "as in train: planned addresses"});
  f.add("cuda_graph_impl", c.cuda_graph_impl,
        {.help = "as in train: full_iteration replays CUDA graphs", .allowed = {"none", "full_iteration"}});
  f.add("main_grads_dtype", c.main_grads_dtype,
        {.help = "as in train: bf16 gradients, with dtype bf16", .allowed = {"fp32", "bf16"}});
  f.add("allow_tf32", c.allow_tf32, {.help = "as in train: products in TF32, with dtype f32 on a GPU"});
  f.add("deterministic_mode", c.deterministic_mode, {.help = "as in train: the same bits in every run"});
  f.add("tune", c.tune,
        {.help = "on a GPU: try other algorithms for the matrix products, write the better ones here "
                 "(MEGALITH_GEMM_TABLE names such a file), and run again",
         .value_name = "FILE"});
  f.add("tune_effort", c.tune_effort,
        {.help = "of --tune; quick: what cuBLASLt proposes, 5 s a product; wide: these algorithms in all "
                 "their settings too, up to 20 s a product",
         .allowed = {"quick", "wide"}});
}

struct Case {
  GptConfig model;
  int64_t batch = 0;
  int64_t seq = 256;
  int64_t steps = 0;
};

Case tiny() {
  Case c{.batch = 16, .steps = 20};
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
  Case c{.batch = 4, .steps = 7};
  c.model.num_layers = 12;
  c.model.hidden_size = 768;
  c.model.num_attention_heads = 12;
  c.model.vocab_size = 50257;
  c.model.make_vocab_size_divisible_by = 1;
  return c;
}

Case llama1b() {
  Case c{.batch = 8, .seq = 4096, .steps = 25};
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

Case find_case(const std::string& name) {
  return name == "tiny" ? tiny() : name == "gpt2" ? gpt2() : llama1b();
}

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
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

// A step on random tokens, drawn anew each time on a CPU; on a GPU the step is measured, not the generator.
class RandomBatches {
 public:
  RandomBatches(const Case& c, bool draws_once) : case_(c), draws_once_(draws_once) {}
  void operator()(HostBatch& batch) {
    if (draws_once_ && draws_ > 0) {
      batch = drawn_;
      return;
    }
    resize_batch(batch, case_.batch, case_.seq);
    std::vector<int32_t> text(static_cast<size_t>(case_.seq) + 1);
    for (int64_t row = 0; row < case_.batch; ++row) {
      for (int32_t& token : text) {
        const uint32_t word = RngKey{5, 0}.bits(static_cast<uint64_t>(draws_++));
        token = static_cast<int32_t>(word % static_cast<uint32_t>(case_.model.vocab_size));
      }
      fill_row(batch, row, text, {});
    }
    finish_batch(batch);
    drawn_ = batch;
  }

 private:
  const Case& case_;
  bool draws_once_;
  uint64_t draws_ = 0;
  HostBatch drawn_;
};

struct Phases {
  std::vector<double> data, forward, backward;  // of each step
  double step = 0;                              // a share of all
};

// One step behind the other, as a run does them: the host waits for the loss alone.
Phases time_steps(const Case& c, TrainStep& step, const TrainStep::NextBatch& next_batch, Exec& exec) {
  constexpr int64_t kWarmUp = 3;
  Phases ms;
  for (int64_t i = 0; i < kWarmUp; ++i) step.run(i + 1, 0, next_batch, exec);
  exec.synchronize();
  const auto begin = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < c.steps; ++i) {
    const StepResult result = step.run(kWarmUp + i + 1, 0, next_batch, exec);
    ms.data.push_back(result.times[Phase::kData]);
    ms.forward.push_back(result.times[Phase::kForward]);
    ms.backward.push_back(result.times[Phase::kBackward]);
  }
  exec.synchronize();
  ms.step = milliseconds_since(begin) / static_cast<double>(c.steps);
  return ms;
}

void report(const Case& c, const Phases& phases, const GptModel& model, const Ceilings& ceilings,
            Exec& exec) {
  const double ms = phases.step;
  const double data = median(phases.data), forward = median(phases.forward),
               backward = median(phases.backward);
  const auto tokens = static_cast<double>(c.batch * c.seq);
  const FlopsPerToken flops = model.flops_per_token(c.seq);
  const double floor_ms = flops.true_work * tokens / ceilings.product_flops * 1e3;
  std::printf("%.2f ms/step, %.0f tok/s, %.2f TFLOP/s (%.2f by Megatron's formula)\n", ms, tokens / ms * 1e3,
              flops.true_work * tokens / ms * 1e-9, flops.megatron * tokens / ms * 1e-9);
  std::printf("  data %.2f, forward %.2f, backward %.2f, rest %.2f ms%s\n", data, forward, backward,
              ms - data - forward - backward,
              exec.device().is_cuda() ? " until the host had asked for it" : "");
  std::printf("  matrix products alone at the %.2f TFLOP/s of a large one: %.1f ms = %.0f %%\n",
              ceilings.product_flops * 1e-12, floor_ms, 100 * floor_ms / ms);
  std::printf("  peak %.2f GiB, %.2f held by the pool, %.2f in tensors\n", peak_gib(exec),
              static_cast<double>(exec.pool().held_bytes()) / (1 << 30),
              static_cast<double>(exec.ledger().peak_bytes()) / (1 << 30));
  std::fflush(stdout);
}

void run_bench_step(CommandLine& line) {
  BenchStepOptions step_options;
  BenchOptions options{.dtype = "f32"};
  line.add("step", "Step", step_options);
  line.add("bench", "Bench", options);
  if (!line.parse()) return;
  const DType dtype = parse_dtype(options.dtype);
  Case c = find_case(step_options.model);
  if (step_options.steps > 0) c.steps = step_options.steps;
  c.model.hidden_dropout = c.model.attention_dropout = 0;
  c.model.max_position_embeddings = c.seq;
  c.model.bf16 = dtype == DType::kBF16;
  const ExecOptions exec_options{.device = choose_device(options.device),
                                 .num_threads = static_cast<int>(options.num_threads)};
  Ceilings ceilings;
  {
    Exec exec(exec_options);  // whose memory is gone before the peak is measured
    ceilings = measure_ceilings(exec.device().is_cuda() ? dtype : DType::kF32, exec);
  }
  Exec exec(exec_options);
  MG_CHECK(exec.device().is_cuda() || step_options.tune.empty(), "--tune: the device is {}; allowed: a GPU",
           exec.device().name());
  if (step_options.activation_arena) exec.pool().use_arena();
  MG_CHECK(exec.device().is_cuda() || step_options.cuda_graph_impl == "none",
           "--cuda-graph-impl: the device is {}; allowed: a GPU", exec.device().name());
  MG_CHECK(!step_options.activation_arena || step_options.cuda_graph_impl == "none",
           "--cuda-graph-impl needs --no-activation-arena: a graph has memory of its own");
  OptimConfig optim;
  optim.main_grads_dtype = step_options.main_grads_dtype;
  TrainConfig train;
  train.allow_tf32 = step_options.allow_tf32;
  check_dtypes({.model = c.model, .data = {}, .optim = optim, .parallel = {}, .train = train});
  if (train.allow_tf32) allow_tf32(exec);
  set_deterministic_attention(step_options.deterministic_mode, exec);
  GptModel model(c.model, exec);
  model.parameters().initialize(exec);
  model.parameters().allocate_gradients(exec, optim.gradient_dtype());
  optim.lr = 1e-3;
  optim.lr_decay_style = "constant";
  AdamW optimizer(model.parameters(), optim, exec);
  const ParamSchedule schedule(optim, {.train_samples = 1000 * c.batch, .samples_per_iteration = c.batch});
  train.train_iters = 1000;
  train.micro_batch_size = c.batch;
  train.recompute_granularity = step_options.recompute_granularity;
  train.recompute_modules = step_options.recompute_modules;
  train.cpu_offloading_num_layers = step_options.cpu_offloading_num_layers;
  train.cuda_graph_impl = step_options.cuda_graph_impl;
  train.cuda_graph_warmup_steps = 1;  // the graphs are captured before what is timed
  const Mesh mesh;
  TrainStep step({.model = &model, .optimizer = &optimizer, .schedule = &schedule, .mesh = &mesh}, train,
                 optim.clip_grad);
  RandomBatches batches(c, exec.device().is_cuda());
  std::string where = fmt::format("{} threads, {}", exec.num_threads(), name_of(exec.isa()));
  if (exec.device().is_cuda()) where = exec.cuda().limits().name;
  std::printf("%s, %s, %.1f M parameters, batch %ld x %ld, %s\n", step_options.model.c_str(), name_of(dtype),
              static_cast<double>(model.parameters().num_elements()) * 1e-6, c.batch, c.seq, where.c_str());
  report(c, time_steps(c, step, std::ref(batches), exec), model, ceilings, exec);
  if (const ActivationArena* arena = exec.pool().arena()) std::printf("arena:\n%s", arena->report().c_str());
  log_debug("memory by owner:\n{}", exec.ledger().report());
  if constexpr (kHasCuda) {
    if (!exec.device().is_cuda()) return;
    log_debug("matrix products:\n{}", cuda::describe_gemm_plans(exec));
    if (step_options.tune.empty()) return;
    write_text_file(step_options.tune,
                    cuda::tune_gemm_plans({.tries_all_settings = step_options.tune_effort == "wide"}, exec));
    report(c, time_steps(c, step, std::ref(batches), exec), model, ceilings, exec);
  }
}

}  // namespace

Command bench_step_command() {
  return {.name = "bench step",
          .summary = "Time training steps of a known model, beside its bare matrix products.",
          .examples = {"megalith bench step tiny", "megalith bench step llama1b --dtype bf16 --device cuda"},
          .run = run_bench_step};
}

}  // namespace megalith
