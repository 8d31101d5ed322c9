#include "megalith/parallel/data/data_sharing.h"

#include "megalith/base/error.h"

namespace megalith {
namespace {

FlatSharing::Cut cut_of(Communicator& copies, int num_instances, const char* what) {
  if (copies.size() % num_instances != 0)
    throw UsageError(
        fmt::format("num_distributed_optimizer_instances {} does not divide the {} ranks that hold the same "
                    "{} parameters",
                    num_instances, copies.size(), what));
  const int size = copies.size() / num_instances;
  return {.index = copies.rank() % size, .count = size};
}

}  // namespace

DataSharding data_sharding(const Mesh& mesh) {
  const std::string& strategy = mesh.config().data_parallel_sharding_strategy;
  if (strategy == "optim") return DataSharding::kOptimizer;
  if (strategy == "optim_grads") return DataSharding::kGradients;
  if (strategy == "optim_grads_params") return DataSharding::kWeights;
  return DataSharding::kNothing;
}

FlatSharing data_sharing(const Mesh& mesh) {
  const DataSharding sharding = data_sharding(mesh);
  if (sharding == DataSharding::kNothing) return {};
  const auto num_instances = static_cast<int>(mesh.config().num_distributed_optimizer_instances);
  return {.dense = cut_of(mesh.dp_cp(), num_instances, "dense"),
          .expert = cut_of(mesh.edp(), num_instances, "expert"),
          .shards_weights = sharding >= DataSharding::kWeights,
          .shards_gradients = sharding >= DataSharding::kGradients};
}

ShareGroups ShareGroups::split(Communicator& copies, const FlatSharing::Cut& cut) {
  ShareGroups groups;
  const int instance = copies.rank() / cut.count;
  if (cut.count > 1) {
    const auto within = [&](const char* name) {
      return copies.split(
          {.colour = instance, .key = copies.rank(), .name = name, .order = CommOrder::kBeside});
    };
    groups.reduce = within("gradient shares");
    groups.gather = within("weight shares");
  }
  if (cut.count < copies.size())
    groups.replicas = copies.split(
        {.colour = cut.index, .key = copies.rank(), .name = "replicas", .order = CommOrder::kBeside});
  return groups;
}

}  // namespace megalith
