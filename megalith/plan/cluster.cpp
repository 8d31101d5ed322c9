#include "megalith/plan/cluster.h"

#include <filesystem>

#include "megalith/base/error.h"
#include "megalith/base/text.h"
#include "megalith/config/recipe.h"

namespace megalith {
namespace {

Cluster h200x8() {
  return {.name = "h200x8",
          .source =
              "measured on H200 nodes (docs/benchmarks/h200.md); the network is the data sheet's 400 Gb/s "
              "per GPU at 90 %",
          .gpu_memory_gib = 139,
          .matmul_tflops = 685,
          .expert_product_setup = 940,  // 400 TFLOP/s at 2048 x 768 (docs/benchmarks/experts.md)
          .attention_forward_tflops = 611,
          .attention_backward_tflops = 433,
          .memory_gb_per_s = 3800,
          .node_gb_per_s = 340,
          .network_gb_per_s = 45,
          .node_latency_us = 20,
          .network_latency_us = 40};
}

Cluster h100x8() {
  Cluster cluster = h200x8();
  cluster.name = "h100x8";
  cluster.source = "not measured: the H200's rates of compute and links, the data sheet's memory";
  cluster.gpu_memory_gib = 79;
  cluster.memory_gb_per_s = 2650;
  return cluster;
}

}  // namespace

void declare_fields(Cluster& c, FieldList& f) {
  f.add("name", c.name, {.help = "for the report"});
  f.add("source", c.source, {.help = "where the rates come from"});
  f.add("gpus_per_node", c.gpus_per_node, {.help = "GPUs linked by NVLink", .min = 1});
  f.add("gpu_memory_gib", c.gpu_memory_gib, {.help = "usable memory of a GPU"});
  f.add("matmul_tflops", c.matmul_tflops, {.help = "bf16 products of training sizes, sustained"});
  f.add("expert_product_setup", c.expert_product_setup,
        {.help = "contraction that a small product of an expert takes time for besides its own", .min = 0});
  f.add("attention_forward_tflops", c.attention_forward_tflops, {.help = "causal attention"});
  f.add("attention_backward_tflops", c.attention_backward_tflops, {.help = "its backward, five products"});
  f.add("memory_gb_per_s", c.memory_gb_per_s, {.help = "of a copying kernel, read + written"});
  f.add("node_gb_per_s", c.node_gb_per_s, {.help = "bus bandwidth of collectives within a node"});
  f.add("network_gb_per_s", c.network_gb_per_s, {.help = "the same between nodes, per GPU"});
  f.add("host_gb_per_s", c.host_gb_per_s, {.help = "a GPU's link to its host, one way", .above = 0});
  f.add("node_latency_us", c.node_latency_us, {.help = "a small collective within a node", .min = 0});
  f.add("network_latency_us", c.network_latency_us, {.help = "the same between nodes", .min = 0});
}

void validate(const Cluster& c) {
  const auto require = [](double value, const char* key) {
    if (!(value > 0)) throw UsageError(fmt::format("cluster: {} is {}; give a positive number", key, value));
  };
  require(c.gpu_memory_gib, "gpu_memory_gib");
  require(c.matmul_tflops, "matmul_tflops");
  require(c.attention_forward_tflops, "attention_forward_tflops");
  require(c.attention_backward_tflops, "attention_backward_tflops");
  require(c.memory_gb_per_s, "memory_gb_per_s");
  require(c.node_gb_per_s, "node_gb_per_s");
  require(c.network_gb_per_s, "network_gb_per_s");
}

std::vector<std::string> cluster_names() {
  return {"h200x8", "h100x8"};
}

Cluster find_cluster(const std::string& name_or_file) {
  for (const Cluster& cluster : {h200x8(), h100x8()})
    if (cluster.name == name_or_file) return cluster;
  const std::vector<std::string> names = cluster_names();
  if (!std::filesystem::exists(name_or_file)) {
    const std::string guess = nearest(name_or_file, names);
    throw UsageError(fmt::format("no cluster '{}'{}; known: {}, or the path of a YAML file", name_or_file,
                                 guess.empty() ? "" : fmt::format(" (did you mean {}?)", guess),
                                 join(names, ", ")));
  }
  Cluster cluster;
  Options options;
  options.add({.name = "cluster", .title = "Cluster"}, cluster);
  read_recipe(options, name_or_file);
  options.check();
  if (cluster.name.empty()) cluster.name = std::filesystem::path(name_or_file).stem().string();
  if (cluster.source.empty()) cluster.source = name_or_file;
  return cluster;
}

}  // namespace megalith
