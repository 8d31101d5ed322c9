#include "megalith/plan/traffic.h"

#include <algorithm>
#include <map>

namespace megalith {

Link group_link(const RankLayout& layout, const std::vector<Axis>& axes, const Cluster& cluster) {
  std::map<int64_t, int> members;  // by node
  const std::vector<int> group = layout.group(0, axes);
  for (const int rank : group) ++members[rank / cluster.gpus_per_node];
  Link link{.ranks = static_cast<int>(group.size()), .crosses_nodes = members.size() > 1};
  int fewest = link.ranks;
  for (const auto& [node, count] : members) fewest = std::min(fewest, count);
  const double node_rate = cluster.node_gb_per_s * 1e9, network_rate = cluster.network_gb_per_s * 1e9;
  link.bytes_per_s = link.crosses_nodes ? std::min(node_rate, network_rate * fewest) : node_rate;
  link.latency_s = 1e-6 * (link.crosses_nodes ? cluster.network_latency_us : cluster.node_latency_us);
  return link;
}

double wire_bytes(Transfer kind, double bytes, int ranks) {
  const double others = static_cast<double>(ranks - 1) / ranks;
  switch (kind) {
    case Transfer::kAllReduce:
      return 2 * others * bytes;
    case Transfer::kPeer:
      return ranks > 1 ? bytes : 0;
    default:
      return others * bytes;
  }
}

double collective_seconds(Transfer kind, double bytes, const Link& link) {
  if (link.ranks == 1) return 0;
  return link.latency_s + wire_bytes(kind, bytes, link.ranks) / link.bytes_per_s;
}

}  // namespace megalith
