#include "megalith/models/gpt/gpt_model.h"

#include "megalith/autograd/functions/dropout.h"
#include "megalith/autograd/functions/embedding.h"
#include "megalith/autograd/functions/linear_cross_entropy.h"
#include "megalith/autograd/segment.h"
#include "megalith/autograd/unit_scope.h"
#include "megalith/models/gpt/gpt_flops.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/gemm.h"

namespace megalith {
namespace {

MoeLayer::Options moe_options(const GptConfig& config, const std::string& name, const Mlp::Options& dense) {
  const MoeConfig& moe = config.moe;
  const std::string& balancing = moe.router_load_balancing_type;
  const double scale = moe.router_topk_scaling_factor;
  MoeLayer::Options options{
      .router = {.name = name + ".mlp.router",
                 .hidden_size = config.hidden_size,
                 .num_experts = moe.num_experts,
                 .init_std = config.init_method_std,
                 .route = {.topk = moe.router_topk,
                           .score = moe.router_score_function == "sigmoid" ? RouterScore::kSigmoid
                                                                           : RouterScore::kSoftmax,
                           .pre_softmax = moe.router_pre_softmax,
                           .num_groups = moe.router_num_groups,
                           .group_topk = moe.router_group_topk,
                           .scale = scale > 0 ? scale : 1},
                 .balancing = balancing == "aux_loss"          ? Router::Balancing::kAuxLoss
                              : balancing == "seq_aux_loss"    ? Router::Balancing::kSequenceAuxLoss
                              : balancing == "global_aux_loss" ? Router::Balancing::kGlobalAuxLoss
                                                               : Router::Balancing::kNone,
                 .aux_loss_coeff = moe.aux_loss_coeff,
                 .z_loss_coeff = moe.z_loss_coeff,
                 .has_expert_bias = moe.router_enable_expert_bias,
                 .bias_update_rate = moe.router_bias_update_rate,
                 .counts_dropped = moe.expert_rank_capacity_factor > 0},
      .experts = {.name = name + ".mlp.experts",
                  .hidden_size = config.hidden_size,
                  .ffn_hidden_size = config.expert_ffn_size(),
                  .num_experts = moe.num_experts,
                  .activation = config.activation(),
                  .fc1_init_std = dense.fc1_init_std,
                  .fc2_init_std = dense.fc2_init_std},
      .shared_expert = {},
      .dispatcher =
          moe.token_dispatcher_type == "allgather" ? DispatcherKind::kAllGather : DispatcherKind::kAllToAll,
      .capacity_factor = moe.expert_capacity_factor,
      .pads_to_capacity = moe.pad_expert_input_to_capacity,
      .rank_capacity_factor = moe.expert_rank_capacity_factor,
      .drop_policy = moe.token_drop_policy == "position" ? TokenDrop::kPosition : TokenDrop::kProbs};
  if (moe.shared_expert_intermediate_size > 0) {
    options.shared_expert = dense;
    options.shared_expert->name = name + ".mlp.shared_experts";
    options.shared_expert->ffn_hidden_size = moe.shared_expert_intermediate_size;
  }
  return options;
}

TransformerLayer::Options layer_options(const GptConfig& config, int64_t layer, const std::string& name,
                                        const RotaryTables& rotary, bool has_experts) {
  TransformerLayer::Options options{
      .attention = {.name = name + ".self_attention",
                    .layer = layer,
                    .hidden_size = config.hidden_size,
                    .num_heads = config.num_attention_heads,
                    .num_query_groups = config.query_groups(),
                    .head_dim = config.head_dim(),
                    .has_qkv_bias = config.add_bias_linear || config.add_qkv_bias,
                    .has_proj_bias = config.add_bias_linear,
                    .qkv_init_std = config.init_method_std,
                    .proj_init_std = config.output_init_std(),
                    .dropout = config.attention_dropout,
                    .softmax = config.softmax(),
                    .sink_init_std = config.init_method_std,
                    .window = config.attention_windows()[static_cast<size_t>(layer)],
                    .qk_norm = config.qk_layernorm ? std::optional(config.norm_kind()) : std::nullopt,
                    .norm_eps = config.norm_epsilon,
                    .rotary = config.has_rope() ? &rotary : nullptr},
      .mlp = {.name = name + ".mlp",
              .hidden_size = config.hidden_size,
              .ffn_hidden_size = config.ffn_size(),
              .activation = config.activation(),
              .has_bias = config.add_bias_linear,
              .fc1_init_std = config.init_method_std,
              .fc2_init_std = config.output_init_std()},
      .moe = {},
      .norm = config.norm_kind(),
      .norm_eps = config.norm_epsilon,
      .hidden_dropout = config.hidden_dropout};
  if (has_experts) options.moe = moe_options(config, name, options.mlp);
  return options;
}

}  // namespace

GptModel::GptModel(const GptConfig& config, const Layout& layout, Exec& exec, std::optional<DType> dtype)
    : config_(config),
      own_mesh_(layout.mesh == nullptr ? std::make_unique<Mesh>() : nullptr),
      mesh_(layout.mesh == nullptr ? own_mesh_.get() : layout.mesh) {
  MG_CHECK(config.vocab_size > 0, "vocab_size is 0; it must be the number of the tokenizer's tokens");
  MG_CHECK(config.max_position_embeddings > 0,
           "max_position_embeddings is 0; it must be at least the sequence length");
  const DType model_dtype = dtype.value_or(config.dtype());
  const bool is_tied = !config.untie_embeddings_and_output_weights;
  std::vector<GptChunk> chunks = layout.chunks;
  if (chunks.empty())
    chunks = {{.first_layer = 0, .num_layers = config.num_layers, .has_embedding = true, .has_head = true}};
  const bool has_embedding = chunks.front().has_embedding, has_head = chunks.back().has_head;

  const auto vocabulary_weight = [&](const char* name) {
    return &store_.add({.name = name,
                        .shape = {config.padded_vocab_size(), config.hidden_size},
                        .init = Init::normal(config.init_method_std),
                        .shard = {.dim = 0, .index = mesh_->tp().rank(), .count = mesh_->tp().size()},
                        .is_shared_by_stages = is_tied && !(has_embedding && has_head)});
  };
  // A unit of its own: the first and the last stage cut it alike.
  ParameterUnit* words = nullptr;
  if (has_embedding || (has_head && is_tied)) {
    words = &store_.begin_unit("word embeddings");
    word_embeddings_ = vocabulary_weight("embedding.word_embeddings.weight");
  }
  std::vector<ParameterUnit*> embeddings = {words};
  if (has_embedding && config.has_learned_positions()) {
    embeddings.push_back(&store_.begin_unit("position embeddings"));
    position_embeddings_ = &store_.add({.name = "embedding.position_embeddings.weight",
                                        .shape = {config.max_position_embeddings, config.hidden_size},
                                        .init = Init::normal(config.init_method_std)});
  }
  if (config.has_rope()) {
    rotary_ = make_rotary_tables({.head_dim = config.head_dim(),
                                  .num_positions = config.max_position_embeddings,
                                  .base = config.rotary_base,
                                  .percent = config.rotary_percent,
                                  .scaling_factor = config.use_rope_scaling ? config.rope_scaling_factor : 0,
                                  .low_frequency_factor = config.rope_low_frequency_factor,
                                  .high_frequency_factor = config.rope_high_frequency_factor,
                                  .original_positions = config.rope_original_positions},
                                 model_dtype, exec);
  }
  if (has_embedding)
    embedding_use_ = &store_.add_use({.units = embeddings, .reads_weights_in_backward = false});
  const std::vector<bool> has_experts = config.moe.expert_layers(config.num_layers);
  for (const GptChunk& spec : chunks) {
    Chunk& chunk = chunks_.emplace_back(Chunk{.spec = spec, .layers = {}, .uses = {}});
    const auto chunk_index = static_cast<int>(chunks_.size()) - 1;
    for (int64_t layer = spec.first_layer; layer < spec.first_layer + spec.num_layers; ++layer) {
      const std::string name = fmt::format("decoder.layers.{}", layer);
      chunk.uses.push_back(&store_.add_use({.chunk = chunk_index, .units = {&store_.begin_unit(name)}}));
      chunk.layers.emplace_back(
          name, layer_options(config, layer, name, rotary_, has_experts[static_cast<size_t>(layer)]), *mesh_,
          store_);
    }
  }
  if (has_head) {
    std::vector<ParameterUnit*> units = {&store_.begin_unit("output head")};
    if (is_tied) units.push_back(words);
    head_use_ = &store_.add_use(
        {.chunk = static_cast<int>(chunks_.size()) - 1, .units = units, .writes_gradients_in_forward = true});
    final_norm_.emplace("decoder.final_layernorm", config.norm_kind(), config.hidden_size,
                        config.norm_epsilon, *mesh_, store_);
    output_weight_ = is_tied ? word_embeddings_ : vocabulary_weight("output_layer.weight");
  }
  store_.materialize(exec, model_dtype, layout.sharing);
  for_each_router([&](Router& router) { router.allocate_state(exec); });
}

void GptModel::for_each_router(const std::function<void(Router&)>& visit) {
  for (Chunk& chunk : chunks_)
    for (TransformerLayer& layer : chunk.layers)
      if (Router* router = layer.router()) visit(*router);
}

void GptModel::after_step(Exec& exec) {
  for_each_router([&](Router& router) { router.after_step(exec); });
}

std::vector<RouterView> GptModel::routers() {
  std::vector<RouterView> views;
  for_each_router([&](Router& router) { views.push_back({router.name(), &router.state()}); });
  return views;
}

Var GptModel::embed(Tape& tape, const ForwardContext& context, const Tensor& ids) const {
  const Var term = embedding(tape, {.ids = ids, .positions = context.positions}, *word_embeddings_,
                             position_embeddings_);  // [T, H]
  RngKey rng = context.rng.fold("embedding");
  Var x;
  if (mesh_->is_sequence_parallel()) {
    x = reduce_scatter_rows(tape, term, mesh_->tp());
    rng = rng.fold(static_cast<uint64_t>(mesh_->tp().rank()));
  } else {
    x = sum_over_ranks(tape, term, mesh_->tp());
  }
  return dropout(tape, x, context.is_training ? config_.hidden_dropout : 0, rng);
}

ResidualStream GptModel::run_layers(Tape& tape, const ForwardContext& context, const Chunk& chunk,
                                    ResidualStream stream) const {
  for (size_t i = 0; i < chunk.layers.size(); ++i) {
    const TransformerLayer& layer = chunk.layers[i];
    stream = in_units(tape, store_, *chunk.uses[i], [&] {
      return segment(tape, stream, [&layer, context](Tape& inner, const ResidualStream& input) {
        return layer.forward(inner, context, input);
      });
    });
  }
  return stream;
}

Var GptModel::token_loss(Tape& tape, const TokenBatch& batch, const Var& x) const {
  return linear_cross_entropy(
      tape, x, *output_weight_,
      {.labels = batch.labels, .loss_weights = batch.loss_weights, .group = &mesh_->tp()});
}

Var GptModel::forward_chunk(Tape& tape, const ForwardContext& context, const TokenBatch& batch, int chunk,
                            const Var& input) {
  const Chunk& part = chunks_[static_cast<size_t>(chunk)];
  const Var x = part.spec.has_embedding
                    ? in_units(tape, store_, *embedding_use_, [&] { return embed(tape, context, batch.ids); })
                    : input;
  const ResidualStream stream = run_layers(tape, context, part, {x});
  if (!part.spec.has_head) return joined(tape, stream);
  return in_units(tape, store_, *head_use_, [&] {
    return token_loss(tape, batch, Linear::whole_input(tape, final_norm_->forward(tape, stream).y, *mesh_));
  });
}

Shape GptModel::boundary_shape(const ForwardContext& context) const {
  const int64_t tokens = context.positions.numel();
  return {mesh_->is_sequence_parallel() ? tokens / mesh_->tp().size() : tokens, config_.hidden_size};
}

Var GptModel::loss(Tape& tape, const ForwardContext& context, const TokenBatch& batch) {
  Var x;
  for (int chunk = 0; chunk < num_chunks(); ++chunk) x = forward_chunk(tape, context, batch, chunk, x);
  return x;
}

Var GptModel::hidden(Tape& tape, const ForwardContext& context, const Tensor& ids) {
  MG_CHECK(mesh_->world().size() == 1, "inference runs on one rank; the model is laid out over {}",
           mesh_->world().size());
  ResidualStream stream{embed(tape, context, ids)};
  for (const Chunk& chunk : chunks_) stream = run_layers(tape, context, chunk, stream);
  if (context.cache != nullptr) context.cache->advance(ids.numel() / context.batch);
  return final_norm_->forward(tape, stream).y;
}

Tensor GptModel::head(const Tensor& hidden, Exec& exec) const {
  const Tensor logits = exec.empty({hidden.dim(0), output_weight_->data.dim(0)}, hidden.dtype());
  gemm({.a = hidden, .b = output_weight_->data, .c = logits, .transpose_b = Transpose::kYes}, exec);
  return logits;
}

Tensor GptModel::logits(Tape& tape, const ForwardContext& context, const Tensor& ids) {
  return head(hidden(tape, context, ids).data, tape.exec());
}

Tensor GptModel::last_logits(Tape& tape, const ForwardContext& context, const Tensor& ids) {
  if (std::optional<DecodeStack> stack = decode_stack_for(context, ids)) {
    if (takes_decode_stack(*stack, tape.exec())) {
      stack->logits = tape.exec().empty({1, stack->head.dim(0)}, stack->head.dtype());
      decode_stack(*stack, tape.exec());
      context.cache->advance(1);
      return stack->logits;
    }
  }
  const Tensor x = hidden(tape, context, ids).data;
  const int64_t seq = x.dim(0) / context.batch;
  const Tensor last = tape.exec().empty({context.batch, config_.hidden_size}, x.dtype());
  copy(x.view({context.batch, seq, config_.hidden_size}).slice(1, seq - 1, seq).as_rows(), last, tape.exec());
  return head(last, tape.exec());
}

KvCache GptModel::make_cache(int64_t batch, int64_t max_length, Exec& exec) {
  return KvCache({.num_layers = config_.num_layers,
                  .batch = batch,
                  .max_length = max_length,
                  .num_query_groups = config_.query_groups(),
                  .head_dim = config_.head_dim(),
                  .dtype = store_.dtype()},
                 exec);
}

FlopsPerToken GptModel::flops_per_token(int64_t seq_length) const {
  return gpt_flops_per_token(config_, seq_length);
}

}  // namespace megalith
