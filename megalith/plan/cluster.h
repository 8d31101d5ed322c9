#pragma once
// defines: Cluster, find_cluster, cluster_names

#include <cstdint>
#include <string>
#include <vector>

#include "megalith/config/field.h"

namespace megalith {

/// Rates of a cluster of equal nodes, as a long run meets them. A file for --cluster has these keys in one
/// section `cluster`.
struct Cluster {
  std::string name;
  std::string source;  ///< measured where, or taken from which data sheet
  int64_t gpus_per_node = 8;
  double gpu_memory_gib = 0;
  double matmul_tflops = 0;  ///< bf16 products of training sizes at the power limit
  /// A product of an expert, whose matrices are small, takes as long as one with a contraction longer by
  /// this.
  double expert_product_setup = 0;
  double attention_forward_tflops = 0;
  double attention_backward_tflops = 0;  ///< five products for the forward's two
  double memory_gb_per_s = 0;            ///< bytes read + written by a copying kernel
  double node_gb_per_s = 0;              ///< bus bandwidth of a collective within a node, per GPU
  double network_gb_per_s = 0;           ///< the same between nodes, per GPU
  double host_gb_per_s = 54;             ///< of a GPU's link to its host, one way
  double node_latency_us = 0, network_latency_us = 0;  ///< of one small collective
};

void declare_fields(Cluster& cluster, FieldList& fields);
/// Throws UsageError naming the keys that must be positive and are not.
void validate(const Cluster& cluster);

/// "h200x8", "h100x8"
std::vector<std::string> cluster_names();
/// One of cluster_names(), or the path of a YAML file. Throws UsageError naming the known ones and the
/// nearest.
Cluster find_cluster(const std::string& name_or_file);

}  // namespace megalith
