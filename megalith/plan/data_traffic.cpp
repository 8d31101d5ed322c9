#include "megalith/plan/data_traffic.h"

namespace megalith {

DataTraffic data_traffic(const RunConfig& config, double elements, double num_microbatches,
                         const Link& link) {
  if (link.ranks == 1) return {};
  const std::string& strategy = config.parallel.data_parallel_sharding_strategy;
  const DType wire = config.parallel.grad_reduce_in_bf16 ? DType::kBF16 : config.optim.gradient_dtype();
  const double gradients = elements * static_cast<double>(size_of(wire));
  const double weights = elements * static_cast<double>(size_of(config.model.dtype()));
  DataTraffic traffic;
  const auto move = [&](Transfer kind, double count, double bytes, double& seconds) {
    traffic.bytes += count * wire_bytes(kind, bytes, link.ranks);
    seconds += count * collective_seconds(kind, bytes, link);
  };
  if (strategy == "no_shard") {
    move(Transfer::kAllReduce, 1, gradients, traffic.gradient_seconds);
    return traffic;
  }
  const bool shards_gradients = strategy != "optim", shards_weights = strategy == "optim_grads_params";
  move(Transfer::kReduceScatter, shards_gradients ? num_microbatches : 1, gradients,
       traffic.gradient_seconds);
  const double gathers =
      !shards_weights ? 1 : num_microbatches * (config.parallel.reshard_after_forward ? 2 : 1);
  move(Transfer::kAllGather, gathers, weights, traffic.weight_seconds);
  return traffic;
}

}  // namespace megalith
