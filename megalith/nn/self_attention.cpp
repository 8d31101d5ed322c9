#include "megalith/nn/self_attention.h"

#include <cmath>

#include "megalith/autograd/functions/attention.h"
#include "megalith/autograd/functions/head_norm.h"
#include "megalith/autograd/functions/rope.h"
#include "megalith/ops/attention.h"
#include "megalith/ops/check.h"

namespace megalith {

namespace {

int64_t share(int64_t heads, const char* what, const Mesh& mesh) {
  const int ranks = mesh.tp().size();
  if (heads % ranks != 0)
    throw UsageError(
        fmt::format("{} {} cannot be shared by tensor_model_parallel_size {}", what, heads, ranks));
  return heads / ranks;
}

// How many ranks of a sequence share the heads between them.
int sharers_of_heads(const Mesh& mesh) {
  if (mesh.cp().size() == 1) return 1;
  switch (parse_context_kind(mesh.config().cp_comm_type)) {
    case ContextKind::kAllToAll:
      return mesh.cp().size();
    case ContextKind::kHierarchical:
      return static_cast<int>(mesh.config().hierarchical_context_parallel_sizes[0]);
    case ContextKind::kRing:
    case ContextKind::kAllGather:
      break;
  }
  return 1;
}

// Every tensor-parallel rank has the norm of some heads: its gradient is a term of the whole.
NormWeights head_norm_weights(const std::string& name, const SelfAttention::Options& options,
                              const Mesh& mesh, ParameterStore& store) {
  const auto add = [&](const char* suffix, Init init) {
    return &store.add({.name = name + suffix,
                       .shape = {options.head_dim},
                       .init = init,
                       .gradient_is_partial = mesh.tp().size() > 1});
  };
  NormWeights weights{
      .kind = *options.qk_norm, .weight = add(".weight", Init::ones()), .eps = options.norm_eps};
  if (weights.kind == NormKind::kLayerNorm) weights.bias = add(".bias", Init::zeros());
  return weights;
}

}  // namespace

SelfAttention::SelfAttention(const Options& options, const Mesh& mesh, ParameterStore& store)
    : options_(options),
      mesh_(&mesh),
      num_heads_(share(options.num_heads, "num_attention_heads", mesh)),
      num_groups_(share(options.num_query_groups, "num_query_groups", mesh)),
      qkv_({.name = options.name + ".linear_qkv",
            .in_features = options.hidden_size,
            .out_features = (options.num_heads + 2 * options.num_query_groups) * options.head_dim,
            .init_std = options.qkv_init_std,
            .has_bias = options.has_qkv_bias,
            .partition = Partition::kColumn,
            .blocks = {options.num_heads * options.head_dim, options.num_query_groups * options.head_dim,
                       options.num_query_groups * options.head_dim}},
           mesh, store),
      proj_({.name = options.name + ".linear_proj",
             .in_features = options.num_heads * options.head_dim,
             .out_features = options.hidden_size,
             .init_std = options.proj_init_std,
             .has_bias = options.has_proj_bias,
             .partition = Partition::kRow},
            mesh, store) {
  check_shared_heads(num_heads_, num_groups_, sharers_of_heads(mesh));
  if (options.qk_norm) {
    q_norm_ = head_norm_weights(options.name + ".q_layernorm", options, mesh, store);
    k_norm_ = head_norm_weights(options.name + ".k_layernorm", options, mesh, store);
  }
  sink_.type = options.softmax;
  if (options.softmax == SoftmaxType::kLearnable)
    sink_.scores = &store.add({.name = options.name + ".core_attention.softmax_offset",
                               .shape = {options.num_heads},
                               .init = Init::normal(options.sink_init_std),
                               .shard = {.dim = 0, .index = mesh.tp().rank(), .count = mesh.tp().size()}});
}

Var SelfAttention::forward(Tape& tape, const ForwardContext& context, const SharedRows& x, RowSum sum,
                           const Var& residual) const {
  Var qkv = qkv_.forward(tape, x);  // [T, (N + 2K) D]
  if (options_.qk_norm) {
    const int64_t d = options_.head_dim;
    qkv = head_norm(tape, qkv, {.first = 0, .count = num_heads_, .dim = d}, q_norm_);
    qkv = head_norm(tape, qkv, {.first = num_heads_, .count = num_groups_, .dim = d}, k_norm_);
  }
  if (options_.rotary != nullptr) {
    const RopeTables tables{
        .cos = options_.rotary->cos, .sin = options_.rotary->sin, .positions = context.positions};
    qkv = rope(tape, qkv, tables, num_heads_ + num_groups_, options_.head_dim);
  }
  const Var heads =
      context.cache != nullptr ? attend_with_cache(tape, context, qkv) : attend(tape, context, qkv);
  return proj_.forward(tape, heads, sum, residual);
}

Var SelfAttention::attend(Tape& tape, const ForwardContext& context, const Var& qkv) const {
  RngKey rng = context.rng.fold(static_cast<uint64_t>(options_.layer)).fold("attention_dropout");
  if (mesh_->tp().size() > 1) rng = rng.fold(static_cast<uint64_t>(mesh_->tp().rank()));  // other heads
  const AttentionOptions options{.batch = context.batch,
                                 .num_heads = num_heads_,
                                 .num_query_groups = num_groups_,
                                 .head_dim = options_.head_dim,
                                 .scale = 1 / std::sqrt(static_cast<double>(options_.head_dim)),
                                 .window = options_.window,
                                 .first_key = context.first_key,
                                 .documents = context.documents,
                                 .dropout = context.is_training ? options_.dropout : 0,
                                 .rng = rng,
                                 .sink = sink_};
  if (mesh_->cp().size() == 1) return attention(tape, qkv, options);
  return context_attention(tape, qkv, options, context_peers(context));
}

ContextPeers SelfAttention::context_peers(const ForwardContext& context) const {
  return {.kind = parse_context_kind(mesh_->config().cp_comm_type),
          .group = &mesh_->cp(),
          .inner = mesh_->cp_inner(),
          .ring = mesh_->cp_ring(),
          .packed = context.packed};
}

Var SelfAttention::attend_with_cache(Tape& tape, const ForwardContext& context, const Var& qkv) const {
  MG_CHECK(!tape.is_recording(), "a KV cache serves inference; it has no gradients");
  Exec& exec = tape.exec();
  const int64_t n = num_heads_, k = num_groups_;
  const int64_t tokens = qkv.data.dim(0);
  const Tensor heads = qkv.data.view({context.batch, tokens / context.batch, n + 2 * k, options_.head_dim});
  const KvCache::Window window =
      context.cache->append(options_.layer, heads.slice(2, n, n + k), heads.slice(2, n + k, n + 2 * k), exec);
  const Tensor out = exec.empty({tokens, n * options_.head_dim}, qkv.data.dtype());
  const Shape shape{context.batch, tokens / context.batch, n, options_.head_dim};
  Tensor lse;
  if (sink_.exists()) lse = exec.empty({shape[0], n, shape[1]}, accumulate_dtype(out.dtype()));
  megalith::attention({.q = heads.slice(2, 0, n),
                       .k = window.k,
                       .v = window.v,
                       .scale = 1 / std::sqrt(static_cast<double>(options_.head_dim)),
                       .window = options_.window,
                       .first_key = context.first_key,
                       .num_keys = window.num_keys,
                       .out = out.view(shape),
                       .lse = lse},
                      exec);
  sink_.join(out.view(shape), lse, exec);
  return {out};
}

}  // namespace megalith
