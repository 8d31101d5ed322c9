// Training steps on several GPUs of one machine, the same as a PyTorch script runs them: Llama-style models,
// sequences of 4096, bf16, random tokens.
//   1b: 1.14 G parameters (vocabulary 32,000, hidden 2048, 16 layers, 16 heads, 8 groups, SwiGLU 8192)
//   7b: vocabulary 32,000, hidden 4096, 32 layers, 32 heads, SwiGLU 11008
//   8b: Llama 3 8B
//   qwen3: Qwen3-30B-A3B with 8 of its 48 layers
// MODEL:L has L layers, MODEL@S sequences of S tokens, MODEL:L@S both.
//
//     bench_train_ranks MODEL BATCH[/STEPS] LAYOUT...
//
// BATCH sequences of a microbatch on each GPU; tp, cp, pp: of all together. STEPS are timed (12), behind four
// others. A layout of N GPUs is one of:
// one, epN or epN_MICROBATCHES (experts shared), ep_zero1_N, ddpN, ddp_lateN (gradients after the backward),
// ddp_bf16_N (bf16 sums), zero1_N, zero2_N, fsdpN, tpN (with sequence parallelism), cpN (all-to-all), ringN
// (context-parallel ranks that pass keys and values round), ppN_SCHEDULE_MICROBATCHES. "nccl:" before a name
// leaves the copy engines aside; "inline:" before ringN lets nothing travel beside attention; "whole:" before
// tpN leaves products whole, "fused:" norms in one kernel with their communication; "paired:" before
// epN_MICROBATCHES has tokens travel beside another microbatch; "mlp_act:" makes the activations of the MLP
// again in the backward; "tune:" times the step, then other algorithms for its matrix products (half a minute
// for ten), then the step again, and writes gemm_table_MODEL_LAYOUT.txt for MEGALITH_GEMM_TABLE; "tune_wide:"
// tries these algorithms in all their settings (three minutes for ten).
//
// Prints for each layout tokens/s and TFLOP/s of a GPU, the ratio to `one` where that ran, and the most that
// a rank held.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "megalith/base/files.h"
#include "megalith/base/text.h"
#include "megalith/comm/launch.h"
#include "megalith/comm/run_ranks.h"
#include "megalith/kernels/cuda/gemm.h"
#include "megalith/train/build_model.h"
#include "megalith/train/train_step.h"

namespace megalith {
namespace {

constexpr int kWarmUp = 4;

struct Amount {
  int64_t batch = 1;
  int steps = 12;
};

// "4", or "4/6" for six steps.
Amount amount_of(const std::string& text) {
  Amount amount;
  const size_t at = text.find('/');
  amount.batch = std::atoll(text.c_str());
  if (at != std::string::npos) amount.steps = std::atoi(text.c_str() + at + 1);
  if (amount.batch < 1 || amount.steps < 1)
    throw UsageError(fmt::format("'{}' is not BATCH or BATCH/STEPS, both above 0", text));
  return amount;
}

struct Layout {
  std::string name;
  int num_ranks = 1;
  int64_t num_microbatches = 1;
  ParallelConfig parallel;
  bool shares_batch = false;  // the batch is of all ranks together
  std::optional<cuda::GemmTuning> tuning;
  bool recomputes_mlp_act = false;
  bool has_bf16_gradients = false;
  BesideTransport beside = BesideTransport::kCopyEngines;
};

// What follows `mark` in a name, or what stands for it.
int64_t number_after(char mark, const std::string& full_name, int64_t otherwise) {
  const size_t at = full_name.find(mark);
  return at == std::string::npos ? otherwise : std::atoll(full_name.c_str() + at + 1);
}

GptConfig model_of(const std::string& full_name) {
  const std::string name = full_name.substr(0, full_name.find_first_of(":@"));
  GptConfig c;
  c.vocab_size = 32000;
  c.make_vocab_size_divisible_by = 128;
  if (name == "1b") {
    c.num_layers = 16;
    c.hidden_size = 2048;
    c.num_attention_heads = 16;
    c.num_query_groups = 8;
    c.ffn_hidden_size = 8192;
  } else if (name == "7b") {
    c.num_layers = 32;
    c.hidden_size = 4096;
    c.num_attention_heads = 32;
    c.ffn_hidden_size = 11008;
  } else if (name == "8b") {
    c.vocab_size = 128256;
    c.num_layers = 32;
    c.hidden_size = 4096;
    c.num_attention_heads = 32;
    c.num_query_groups = 8;
    c.ffn_hidden_size = 14336;
  } else if (name == "qwen3") {
    c.vocab_size = 151936;
    c.num_layers = 8;
    c.hidden_size = 2048;
    c.num_attention_heads = 32;
    c.num_query_groups = 4;
    c.kv_channels = 128;
    c.qk_layernorm = true;
    c.ffn_hidden_size = 6144;
    c.moe.num_experts = 128;
    c.moe.ffn_hidden_size = 768;
    c.moe.router_topk = 8;
    c.moe.aux_loss_coeff = 0.001;
  } else {
    throw UsageError(fmt::format("model '{}'; allowed: 1b, 7b, 8b, qwen3", name));
  }
  c.num_layers = number_after(':', full_name, c.num_layers);
  c.position_embedding_type = "rope";
  c.normalization = "RMSNorm";
  c.swiglu = true;
  c.add_bias_linear = false;
  c.untie_embeddings_and_output_weights = true;
  c.hidden_dropout = c.attention_dropout = 0;
  c.max_position_embeddings = number_after('@', full_name, 4096);
  c.bf16 = true;
  return c;
}

// "zero1_4" -> 4: the first number at the end of the first part or after it.
int number_at(const std::string& text, size_t from, const std::string& name) {
  const int value = from < text.size() ? std::atoi(text.c_str() + from) : 0;
  if (value < 1) throw UsageError(fmt::format("layout '{}' lacks a number", name));
  return value;
}

Layout layout_of(const std::string& full_name) {
  std::string name = full_name;
  const auto take_prefix = [&](std::string_view prefix) {
    const bool has_prefix = name.starts_with(prefix);
    if (has_prefix) name.erase(0, prefix.size());
    return has_prefix;
  };
  Layout l;
  if (take_prefix("tune:")) l.tuning = cuda::GemmTuning{};
  if (take_prefix("tune_wide:")) l.tuning = cuda::GemmTuning{.tries_all_settings = true};
  l.recomputes_mlp_act = take_prefix("mlp_act:");
  if (take_prefix("nccl:")) l.beside = BesideTransport::kNccl;
  ParallelConfig& p = l.parallel;
  p.cp_comm_overlap = !take_prefix("inline:");
  p.tp_comm_overlap = !take_prefix("whole:");
  p.tp_comm_fused_norm = take_prefix("fused:");
  p.overlap_moe_expert_parallel_comm = take_prefix("paired:");
  l.has_bf16_gradients = take_prefix("bf16_grads:");
  if (take_prefix("sharded:")) p.data_parallel_sharding_strategy = "optim_grads_params";
  l.name = name;
  const auto ends_with_count = [&](const std::string& prefix) {
    if (!name.starts_with(prefix)) return false;
    l.num_ranks = number_at(name, prefix.size(), name);
    return true;
  };
  if (name == "one") {
  } else if (ends_with_count("ddp_late")) {
    p.overlap_grad_reduce = false;
  } else if (ends_with_count("ddp_bf16_")) {
    p.grad_reduce_in_bf16 = true;
  } else if (ends_with_count("ddp")) {
  } else if (ends_with_count("zero1_")) {
    p.data_parallel_sharding_strategy = "optim";
  } else if (ends_with_count("zero2_")) {
    p.data_parallel_sharding_strategy = "optim_grads";
  } else if (ends_with_count("fsdp")) {
    p.data_parallel_sharding_strategy = "optim_grads_params";
  } else if (ends_with_count("ep_zero1_")) {
    p.expert_model_parallel_size = l.num_ranks;
    p.data_parallel_sharding_strategy = "optim";
  } else if (ends_with_count("ep")) {
    p.expert_model_parallel_size = l.num_ranks;
    if (const size_t at = name.find('_'); at != std::string::npos)
      l.num_microbatches = number_at(name, at + 1, name);
  } else if (ends_with_count("tp")) {
    p.tensor_model_parallel_size = l.num_ranks;
    p.sequence_parallel = true;
    l.shares_batch = true;
  } else if (ends_with_count("cp")) {
    p.context_parallel_size = l.num_ranks;
    p.cp_comm_type = "a2a";
    l.shares_batch = true;
  } else if (ends_with_count("ring")) {
    p.context_parallel_size = l.num_ranks;
    l.shares_batch = true;
  } else if (ends_with_count("pp")) {
    const std::vector<std::string> parts = split(name, '_');
    if (parts.size() != 3)
      throw UsageError(fmt::format("layout '{}' is not ppN_SCHEDULE_MICROBATCHES", name));
    p.pipeline_model_parallel_size = l.num_ranks;
    p.pipeline_schedule = parts[1];
    l.num_microbatches = number_at(parts[2], 0, name);
    l.shares_batch = true;
  } else {
    throw UsageError(fmt::format("layout '{}' is not known", name));
  }
  return l;
}

void draw_batch(HostBatch& batch, int64_t rows, const GptConfig& model, RngKey rng) {
  const int64_t seq = model.max_position_embeddings, vocabulary = model.vocab_size;
  resize_batch(batch, rows, seq);
  std::vector<int32_t> text(static_cast<size_t>(seq) + 1);
  uint64_t draws = 0;
  for (int64_t row = 0; row < rows; ++row) {
    for (int32_t& token : text)
      token = static_cast<int32_t>(rng.bits(draws++) % static_cast<uint32_t>(vocabulary));
    fill_row(batch, row, text, {});
  }
  finish_batch(batch);
}

struct Measured {
  double step_ms = 0;
  double untuned_ms = 0;
  std::string gemm_table;
  int64_t peak_bytes = 0;         // of tensors, the rank that has most
  int64_t device_peak_bytes = 0;  // of the GPU, with NCCL's and the libraries' own
  FlopsPerToken flops;
};

Measured measure(const GptConfig& model_config, const Amount& amount, const Layout& layout) {
  const int64_t batch = amount.batch;
  TrainConfig train;
  train.train_iters = 1000;
  train.micro_batch_size = batch;
  const int64_t replicas = layout.shares_batch ? 1 : layout.num_ranks;
  train.global_batch_size = batch * layout.num_microbatches * replicas;
  if (layout.recomputes_mlp_act) {
    train.recompute_granularity = "selective";
    train.recompute_modules = {"mlp_act"};
  }
  OptimConfig optim;
  if (layout.has_bf16_gradients) optim.main_grads_dtype = "bf16";
  optim.lr = 1e-4;
  optim.lr_decay_style = "constant";
  Measured result;
  std::mutex mutex;
  run_ranks({.num_ranks = layout.num_ranks, .timeout = std::chrono::seconds(60)}, [&](Communicator& host) {
    Exec exec({.device = {DeviceKind::kCuda, host.rank()}, .num_threads = 1});
    const RankWorld world(host, exec, {.timeout = std::chrono::seconds(60), .beside = layout.beside});
    const Mesh mesh(world.comm(), layout.parallel);
    const auto model = build_model(model_config, mesh, exec);
    model->parameters().initialize(exec);
    model->parameters().allocate_gradients(exec, optim.gradient_dtype());
    AdamW optimizer(model->parameters(), optim, exec);
    const ParamSchedule schedule(
        optim, {.train_samples = 1000 * train.batch_size(), .samples_per_iteration = train.batch_size()});
    TrainStep step({.model = model.get(), .optimizer = &optimizer, .schedule = &schedule, .mesh = &mesh},
                   train, optim.clip_grad);
    HostBatch drawn;
    draw_batch(drawn, batch, model_config,
               exec.rng().fold("tokens").fold(static_cast<uint64_t>(mesh.rank(Axis::kDp))));
    int64_t steps_done = 0;
    const auto time_steps = [&] {
      std::vector<double> times;
      for (int i = 0; i < kWarmUp + amount.steps; ++i) {
        if (i == kWarmUp) host.barrier("warm");
        const auto begin = std::chrono::steady_clock::now();
        step.run(
            ++steps_done, 0, [&](HostBatch& out) { out = drawn; }, exec);
        exec.synchronize();
        if (i >= kWarmUp)
          times.push_back(
              std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
      }
      std::sort(times.begin(), times.end());
      return times[times.size() / 2];
    };
    double step_ms = time_steps(), untuned_ms = 0;
    std::string table;
    if (layout.tuning) {
      table = cuda::tune_gemm_plans(*layout.tuning, exec);
      host.barrier("tuned");
      untuned_ms = std::exchange(step_ms, time_steps());
    }
    const CudaMemory memory = cuda_memory(exec.device().index);
    const std::lock_guard lock(mutex);
    result.peak_bytes = std::max(result.peak_bytes, exec.ledger().peak_bytes());
    result.device_peak_bytes = std::max(result.device_peak_bytes, memory.total_bytes - memory.free_bytes);
    if (host.rank() != 0) return;
    result.step_ms = step_ms;
    result.untuned_ms = untuned_ms;
    result.gemm_table = table;
    result.flops = model->flops_per_token(model_config.max_position_embeddings);
  });
  return result;
}

void run(const std::string& model_name, const Amount& amount, const std::vector<std::string>& names) {
  const int64_t batch = amount.batch;
  const GptConfig model = model_of(model_name);
  double one = 0;
  for (const std::string& name : names) {
    const Layout layout = layout_of(name);
    try {
      const Measured m = measure(model, amount, layout);
      const auto tokens =
          static_cast<double>(batch * model.max_position_embeddings * layout.num_microbatches *
                              (layout.shares_batch ? 1 : layout.num_ranks));
      const double rate = tokens / m.step_ms * 1e3 / layout.num_ranks;
      if (name == "one") one = rate;
      constexpr double kGib = 1 << 30;
      std::printf(
          "%s %s, batch %ld x %ld: %.1f ms/step, %.0f tok/s/GPU, %.0f TFLOP/s/GPU (%.0f by Megatron's "
          "formula)%s, peak %.1f GiB (%.1f GiB of the GPU)\n",
          model_name.c_str(), name.c_str(), batch, layout.num_microbatches, m.step_ms, rate,
          rate * m.flops.true_work * 1e-12, rate * m.flops.megatron * 1e-12,
          one > 0 ? fmt::format(", {:.4f} of one", rate / one).c_str() : "",
          static_cast<double>(m.peak_bytes) / kGib, static_cast<double>(m.device_peak_bytes) / kGib);
      if (!layout.tuning) continue;
      const std::string file = fmt::format("gemm_table_{}_{}.txt", model_name, layout.name);
      write_text_file(file, m.gemm_table);
      std::printf("  before tuning %.1f ms/step; wrote %s\n", m.untuned_ms, file.c_str());
    } catch (const Error& error) {
      std::printf("%s %s: %s\n", model_name.c_str(), name.c_str(), error.what());
    }
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace megalith

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: bench_train_ranks 1b|7b|8b|qwen3 BATCH[/STEPS] LAYOUT...\n");
    return 2;
  }
  try {
    megalith::run(argv[1], megalith::amount_of(argv[2]), {argv + 3, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
