#include "megalith/cli/plan_world.h"

#include <cstdio>

#include "megalith/base/text.h"

namespace megalith {
namespace {

std::string milliseconds(double seconds) {
  return fmt::format("{:.1f} ms", seconds * 1e3);
}

// "tp2 pp4 dp8", with what else tells layouts apart.
std::string layout_name(const LayoutEstimate& estimate) {
  const MeshShape& shape = estimate.shape;
  std::string name;
  const auto add = [&](const char* axis, int size) {
    if (size > 1) name += fmt::format("{}{}{}", name.empty() ? "" : " ", axis, size);
  };
  add("tp", shape.tp);
  add("cp", shape.cp);
  add("pp", shape.pp);
  add("ep", shape.ep);
  add("dp", shape.dp);
  return name.empty() ? "one rank" : name;
}

std::string sharding_name(const std::string& strategy) {
  if (strategy == "optim") return "ZeRO-1";
  if (strategy == "optim_grads") return "ZeRO-2";
  return strategy == "optim_grads_params" ? "ZeRO-3" : "-";
}

std::string flags_of(const LayoutEstimate& estimate) {
  const ParallelConfig& parallel = estimate.config.parallel;
  std::string flags;
  const auto size = [&](const char* name, int64_t value) {
    if (value > 1) flags += fmt::format(" --{} {}", name, value);
  };
  size("tensor-model-parallel-size", parallel.tensor_model_parallel_size);
  if (parallel.sequence_parallel) flags += " --sequence-parallel";
  size("context-parallel-size", parallel.context_parallel_size);
  size("pipeline-model-parallel-size", parallel.pipeline_model_parallel_size);
  if (estimate.shape.pp > 1) flags += " --pipeline-schedule " + parallel.pipeline_schedule;
  size("virtual-pipeline-model-parallel-size", parallel.virtual_pipeline_model_parallel_size);
  size("expert-model-parallel-size", parallel.expert_model_parallel_size);
  if (parallel.expert_tensor_parallel_size > 0)
    flags += fmt::format(" --expert-tensor-parallel-size {}", parallel.expert_tensor_parallel_size);
  if (parallel.data_parallel_sharding_strategy != "no_shard")
    flags += " --data-parallel-sharding-strategy " + parallel.data_parallel_sharding_strategy;
  flags += fmt::format(" --micro-batch-size {} --global-batch-size {}",
                       estimate.config.train.micro_batch_size, estimate.config.train.batch_size());
  if (estimate.config.train.recompute_granularity != "none")
    flags += " --recompute-granularity " + estimate.config.train.recompute_granularity;
  return flags.substr(1);
}

std::string gib(double bytes) {
  return fmt::format("{:.1f}", bytes / (1 << 30));
}

void print_row(const std::string& name, const std::string& value, const std::string& detail = {}) {
  std::printf("  %-22s %12s  %s\n", name.c_str(), value.c_str(), detail.c_str());
}

}  // namespace

void print_layout(const LayoutEstimate& estimate, const Cluster& cluster) {
  const RankMemory& memory = estimate.fullest();
  std::printf("\nlayout %s on %d GPUs of %s (%s)\n", layout_name(estimate).c_str(), estimate.shape.world,
              cluster.name.c_str(), cluster.source.c_str());
  print_row("memory of a rank", human_bytes(static_cast<double>(memory.total())),
            fmt::format(
                "the fullest, pipeline rank {}, of {:.0f} GiB{}: parameters {}, gradients {}, optimizer {}, "
                "activations {} GiB",
                estimate.fullest_rank, cluster.gpu_memory_gib, estimate.fits ? "" : " (DOES NOT FIT)",
                gib(static_cast<double>(memory.parameters)), gib(static_cast<double>(memory.gradients)),
                gib(static_cast<double>(memory.optimizer)), gib(static_cast<double>(memory.activations))));
  print_row("step", milliseconds(estimate.step_seconds),
            fmt::format("{:.0f} tokens/s/GPU, {:.0f} TFLOP/s/GPU of the products that are run",
                        estimate.tokens_per_second_per_gpu, estimate.tflops_per_gpu));
  print_row("  compute", milliseconds(estimate.compute_seconds), "of the busiest rank");
  if (estimate.shape.pp > 1)
    print_row("  bubble", fmt::format("{:.1f} %", 100 * estimate.bubble_fraction), "of the pipeline's time");
  print_row("  optimizer", milliseconds(estimate.optimizer_seconds));
  for (const AxisTraffic& traffic : estimate.traffic)
    print_row(fmt::format("  {}{}", traffic.axis, traffic.link.ranks), milliseconds(traffic.exposed),
              fmt::format("not hidden, of {}; {} over {} at {:.0f} GB/s", milliseconds(traffic.seconds),
                          human_bytes(traffic.bytes), traffic.link.crosses_nodes ? "the network" : "NVLink",
                          traffic.link.bytes_per_s * 1e-9));
}

void print_best_layouts(const SearchResult& found, const Cluster& cluster) {
  std::printf("\nbest layouts (%ld tried, %ld fit into %.0f GiB)\n", found.num_tried, found.num_fitting,
              cluster.gpu_memory_gib);
  if (found.best.empty()) {
    if (found.num_tried > 0)
      std::printf("  none fits: more GPUs, a smaller seq_length, or a cluster with more memory\n");
    else
      std::printf("  none can be, data parallelism alone for this: %s\n", found.refusal.c_str());
    return;
  }
  std::printf("  %-24s %-11s %-7s %5s %-9s %8s %7s %9s %8s %8s\n", "layout", "schedule", "shards", "micro",
              "recompute", "GiB/rank", "bubble", "comm ms", "step ms", "tok/s/GPU");
  for (const LayoutEstimate& e : found.best) {
    double communication = 0;
    for (const AxisTraffic& traffic : e.traffic) communication += traffic.exposed;
    std::printf("  %-24s %-11s %-7s %5ld %-9s %8s %5.1f %% %9.1f %8.1f %8.0f\n", layout_name(e).c_str(),
                e.shape.pp > 1 ? e.config.parallel.pipeline_schedule.c_str() : "-",
                sharding_name(e.config.parallel.data_parallel_sharding_strategy).c_str(),
                e.config.train.micro_batch_size, e.config.train.recompute_granularity.c_str(),
                gib(static_cast<double>(e.fullest().total())).c_str(), 100 * e.bubble_fraction,
                communication * 1e3, e.step_seconds * 1e3, e.tokens_per_second_per_gpu);
  }
  std::printf("\nthe first one: %s\n", flags_of(found.best.front()).c_str());
}

}  // namespace megalith
