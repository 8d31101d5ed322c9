#pragma once
// defines: Transfer, Link, group_link, wire_bytes, collective_seconds

#include <cstdint>
#include <vector>

#include "megalith/parallel/mesh_shape.h"
#include "megalith/plan/cluster.h"

namespace megalith {

enum class Transfer {
  kAllGather,      ///< bytes: of the gathered whole
  kReduceScatter,  ///< bytes: of the whole that is reduced
  kAllReduce,      ///< bytes: of the tensor
  kAllToAll,       ///< bytes: of all that a rank sends, its own block included
  kPeer,           ///< bytes: of one message
};

/// What the ranks of a group meet on.
struct Link {
  int ranks = 1;
  bool crosses_nodes = false;
  double bytes_per_s = 0;  ///< bus bandwidth
  double latency_s = 0;    ///< of one small collective
};

/// Of the group that varies along `axes`, on the node-by-node placement of ranks. A collective across nodes
/// runs at the network's rate times the members in a node, at most at the node's own rate.
Link group_link(const RankLayout& layout, const std::vector<Axis>& axes, const Cluster& cluster);

/// Ring algorithms: (n - 1) / n of the whole passes each link, twice for an all-reduce.
double wire_bytes(Transfer kind, double bytes, int ranks);
double collective_seconds(Transfer kind, double bytes, const Link& link);

}  // namespace megalith
