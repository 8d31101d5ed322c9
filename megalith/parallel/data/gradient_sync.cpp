#include "megalith/parallel/data/gradient_sync.h"

namespace megalith {
namespace {

// A range of the flat buffers and the ranks that hold the same parameters there.
struct Replicated {
  FlatRange range;
  Communicator* group;
};

std::vector<Replicated> replicated_ranges(const ParameterStore& store, const Mesh& mesh) {
  std::vector<Replicated> ranges;
  if (store.dense_range().size() > 0) ranges.push_back({store.dense_range(), &mesh.dp_cp()});
  if (store.expert_range().size() > 0) ranges.push_back({store.expert_range(), &mesh.edp()});
  return ranges;
}

bool shards_optimizer(const Mesh& mesh) {
  return mesh.config().data_parallel_sharding_strategy == "optim";
}

FlatRange share_of(const Replicated& whole) {
  const int64_t size = whole.range.size() / whole.group->size();
  const int64_t begin = whole.range.begin + whole.group->rank() * size;
  return {begin, begin + size};
}

Tensor part(const Tensor& flat, FlatRange range) {
  return flat.slice(0, range.begin, range.end);
}

}  // namespace

ParameterStore::Divisors flat_divisors(const Mesh& mesh) {
  if (!shards_optimizer(mesh)) return {};
  return {.dense = mesh.dp_cp().size(), .expert = mesh.edp().size()};
}

std::vector<FlatRange> owned_ranges(const ParameterStore& store, const Mesh& mesh) {
  if (!shards_optimizer(mesh)) return {{0, store.num_flat_elements()}};
  std::vector<FlatRange> owned;
  for (const Replicated& whole : replicated_ranges(store, mesh)) owned.push_back(share_of(whole));
  return owned;
}

void finish_gradients(ParameterStore& store, const Mesh& mesh, Exec& exec) {
  store.finish_gradients(exec);
  for (const auto& parameter : store.parameters()) {
    if (parameter->spec.gradient_is_partial)
      mesh.tp().all_reduce(parameter->main_grad, ReduceOp::kSum, parameter->name());
    if (parameter->spec.is_shared_by_stages)
      mesh.embedding_group()->all_reduce(parameter->main_grad, ReduceOp::kSum, parameter->name());
  }
  for (const Replicated& whole : replicated_ranges(store, mesh)) {
    if (whole.group->size() == 1) continue;
    const Tensor gradients = part(store.flat_grad(), whole.range);
    if (shards_optimizer(mesh))
      whole.group->reduce_scatter(gradients, part(store.flat_grad(), share_of(whole)), ReduceOp::kSum,
                                  "gradients");
    else
      whole.group->all_reduce(gradients, ReduceOp::kSum, "gradients");
  }
}

void gather_weights(const ParameterStore& store, const Mesh& mesh) {
  if (!shards_optimizer(mesh)) return;
  for (const Replicated& whole : replicated_ranges(store, mesh))
    if (whole.group->size() > 1)
      whole.group->all_gather(part(store.flat_data(), share_of(whole)), part(store.flat_data(), whole.range),
                              "weights");
}

}  // namespace megalith
