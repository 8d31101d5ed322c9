#include "megalith/train/train_config.h"

#include "megalith/base/error.h"
#include "megalith/parallel/mesh_shape.h"

namespace megalith {

RecomputePolicy TrainConfig::recompute_policy() const {
  if (recompute_granularity == "full") return {.full = true, .ops = {}};
  RecomputePolicy policy;
  if (recompute_granularity != "selective") return policy;
  for (const std::string& module : recompute_modules)
    policy.ops.push_back(module == "layernorm" ? "norm" : "activation");
  return policy;
}

void declare_fields(TrainConfig& c, FieldList& f) {
  f.add("train_iters", c.train_iters,
        {.help = "optimizer steps", .min = 1, .max = 1e12, .main = true, .required = true});
  f.add("micro_batch_size", c.micro_batch_size,
        {.help = "sequences of one forward and backward pass", .min = 1, .max = 1 << 20, .main = true});
  f.add("global_batch_size", c.global_batch_size,
        {.help = "sequences of one step; 0: micro_batch_size", .min = 0, .max = 1 << 20, .main = true});
  f.add("tokenizer_model", c.tokenizer_model,
        {.help = "tokenizer.json of the data", .value_name = "FILE", .main = true});
  f.add("device", c.device, {.help = "where to train: auto (a GPU where there is one), cpu, cuda, cuda:N"});
  f.add("num_threads", c.num_threads,
        {.help = "threads of the CPU kernels; 0: OMP_NUM_THREADS or all cores", .min = 0, .max = 1024});
  f.add(
      "allow_tf32", c.allow_tf32,
      {.help = "f32 models on a GPU: matrix products round their operands to TF32's 10 bits of mantissa and "
               "add in f32"});
  f.add("deterministic_mode", c.deterministic_mode,
        {.help =
             "on a GPU too, the same bits in every run of the same layout (gradients of attention, bf16 and "
             "fp16); slower, much so with reset_attention_mask"});
  f.add("eval_interval", c.eval_interval, {.help = "steps between evaluations", .min = 1, .main = true});
  f.add("eval_iters", c.eval_iters,
        {.help = "global batches of one evaluation; 0: none", .min = 0, .max = 1e12});
  f.add("log_interval", c.log_interval,
        {.help = "steps between lines when stderr is not a terminal", .min = 1});
  f.add("metrics", c.metrics,
        {.help = "JSONL file, one object per step; default: metrics.jsonl in --save", .value_name = "FILE"});
  f.add("save", c.save, {.help = "directory of the run's checkpoints", .value_name = "DIR", .main = true});
  f.add("load", c.load, {.help = "directory to go on from", .value_name = "DIR", .main = true});
  f.add("save_interval", c.save_interval,
        {.help = "steps between checkpoints in --save; 0: only at the end", .min = 0});
  f.add("keep_last", c.keep_last, {.help = "checkpoints to keep; 0: all", .min = 0});
  f.add("async_save", c.async_save,
        {.help = "training goes on while a checkpoint is written, from a copy in host memory"});
  f.add("finetune", c.finetune, {.help = "take only the weights from --load and begin at step 0"});
  f.add("recompute_granularity", c.recompute_granularity,
        {.help = "what the backward computes again: full keeps only the layers' inputs",
         .allowed = {"none", "selective", "full"}});
  f.add("recompute_modules", c.recompute_modules,
        {.help = "selective: outputs that are not kept", .allowed = {"layernorm", "mlp_act"}});
  f.add(
      "cpu_offloading_num_layers", c.cpu_offloading_num_layers,
      {.help = "of the first layers (of every pipeline chunk), what the backward needs waits in pinned host "
               "memory, copied beside the work of the GPU; 0: none",
       .min = 0});
  f.add(
      "activation_arena", c.activation_arena,
      {.help = "what a step takes and returns lies at planned addresses, the same in every step; other steps "
               "than those before are served as without"});
  f.add("calculate_per_token_loss", c.calculate_per_token_loss,
        {.help = "every token of a step counts alike, instead of every microbatch"});
  f.add("nan_policy", c.nan_policy,
        {.help = "when loss or gradients are NaN or Inf: stop the run, skip the update, or warn and go on",
         .allowed = {"stop", "skip", "warn"}});
  f.add("timing_log_level", c.timing_log_level,
        {.help = "1: wait for the GPU after each phase, so that the times of the phases are exact",
         .min = 0,
         .max = 1});
  f.add("profile", c.profile,
        {.help = "print the times of the phases of some steps; profilers record those steps"});
  f.add("profile_step_start", c.profile_step_start, {.help = "first step that is profiled", .min = 1});
  f.add("profile_step_end", c.profile_step_end, {.help = "first step that is not any more", .min = 2});
  f.add("cuda_graph_impl", c.cuda_graph_impl,
        {.help =
             "full_iteration: the work of a step is captured as CUDA graphs, one for a microbatch's forward "
             "and backward and two for norm and update, and replayed; one GPU, no dropout",
         .allowed = {"none", "full_iteration"}});
  f.add("cuda_graph_warmup_steps", c.cuda_graph_warmup_steps,
        {.help = "steps without the graph before it is captured", .min = 1});
}

void validate(const TrainConfig& c) {
  if (c.batch_size() % c.micro_batch_size != 0) {
    throw UsageError(fmt::format("global_batch_size {} is not a multiple of micro_batch_size {}",
                                 c.global_batch_size, c.micro_batch_size));
  }
  if (c.profile && c.profile_step_end <= c.profile_step_start)
    throw UsageError(fmt::format("profile_step_end {} is not behind profile_step_start {}",
                                 c.profile_step_end, c.profile_step_start));
  if (c.finetune && c.load.empty()) throw UsageError("finetune needs load: the directory with the weights");
}

namespace {

// What a graph has experts do is the same in every microbatch, but for what lies in memory.
template <class Require>
void check_experts_in_graph(const RunConfig& config, const Require& require) {
  const MoeConfig& moe = config.model.moe;
  require(
      moe.expert_capacity_factor == 0 || moe.pad_expert_input_to_capacity ||
          moe.expert_rank_capacity_factor > 0,
      "moe_pad_expert_input_to_capacity or moe_expert_rank_capacity_factor with moe_expert_capacity_factor: "
      "how many tokens are dropped sets the sizes of tensors");
  const bool balances = moe.router_load_balancing_type != "none" && moe.aux_loss_coeff != 0;
  require(
      !balances || moe.router_load_balancing_type != "global_aux_loss",
      "another moe_router_load_balancing_type than global_aux_loss, whose weight differs from microbatch to "
      "microbatch");
  require(!config.train.calculate_per_token_loss || (!balances && moe.z_loss_coeff == 0),
          "moe_aux_loss_coeff 0 and moe_z_loss_coeff 0 with calculate_per_token_loss: their weight is the "
          "number of tokens of a microbatch");
  require(!config.model.fp16 || config.optim.loss_scale > 0, "a loss_scale for experts in fp16");
}

void check_cuda_graph(const RunConfig& config, int num_ranks) {
  const std::string& impl = config.train.cuda_graph_impl;
  if (impl == "none") return;
  const auto require = [&](bool holds, const std::string& needed) {
    if (!holds) throw UsageError(fmt::format("cuda_graph_impl {} needs {}", impl, needed));
  };
  require(num_ranks == 1, fmt::format("one rank, not {}", num_ranks));
  if (config.model.moe.num_experts > 0) check_experts_in_graph(config, require);
  require(config.model.hidden_dropout == 0 && config.model.attention_dropout == 0,
          "hidden_dropout 0 and attention_dropout 0: a graph would drop the same elements every time");
  require(!config.train.activation_arena,
          "activation_arena false: what a graph uses lies in memory of its own, at addresses that stay");
  require(config.train.cpu_offloading_num_layers == 0, "cpu_offloading_num_layers 0");
}

// Beyond what validate() of the parallel section says.
void check_expert_overlap(const RunConfig& config, const MeshShape& shape) {
  if (!config.parallel.overlap_moe_expert_parallel_comm) return;
  const auto require = [&](bool holds, const std::string& needed) {
    if (!holds) throw UsageError(fmt::format("overlap_moe_expert_parallel_comm needs {}", needed));
  };
  const TrainConfig& train = config.train;
  require(config.model.moe.has_experts(), "num_experts > 0");
  require(config.model.moe.token_dispatcher_type == "alltoall",
          fmt::format("moe_token_dispatcher_type alltoall, not {}: only there tokens travel beside compute",
                      config.model.moe.token_dispatcher_type));
  require(train.recompute_granularity != "full",
          "recompute_granularity none or selective: a layer that is computed again as a whole cannot stop "
          "where its tokens travel");
  require(train.cpu_offloading_num_layers == 0,
          "cpu_offloading_num_layers 0: what a layer saves could not be told from what the other microbatch "
          "allocates in between");
  require(train.num_microbatches(shape.dp) > 1,
          fmt::format("two or more microbatches in a step; global_batch_size {} makes one of "
                      "micro_batch_size {} on {} data-parallel ranks",
                      train.batch_size(), train.micro_batch_size, shape.dp));
}

void check_offloading(const RunConfig& config) {
  const int64_t count = config.train.cpu_offloading_num_layers;
  if (count > 0 && count >= config.model.num_layers)
    throw UsageError(
        fmt::format("cpu_offloading_num_layers {} is not less than num_layers {}: the last layer's "
                    "backward comes right behind its forward",
                    count, config.model.num_layers));
}

}  // namespace

void check_dtypes(const RunConfig& config) {
  const GptConfig& model = config.model;
  const char* dtype = model.fp16 ? "fp16" : model.bf16 ? "bf16" : "f32";
  if (config.optim.main_grads_dtype == "bf16" && !model.bf16)
    throw UsageError(fmt::format("main_grads_dtype bf16 needs a bf16 model; this one is {}", dtype));
  if (config.train.allow_tf32 && model.dtype() != DType::kF32)
    throw UsageError(fmt::format("allow_tf32 is for f32 models; this one is {}", dtype));
}

void check_layout(const RunConfig& config, int num_ranks) {
  check_dtypes(config);
  check_cuda_graph(config, num_ranks);
  check_offloading(config);
  validate(config.parallel);
  const MeshShape shape = mesh_shape(config.parallel, num_ranks);
  const TrainConfig& train = config.train;
  if (train.batch_size() % (train.micro_batch_size * shape.dp) != 0)
    throw UsageError(
        fmt::format("global_batch_size {} is not a multiple of micro_batch_size {} x {} data-parallel ranks",
                    train.batch_size(), train.micro_batch_size, shape.dp));
  check_expert_overlap(config, shape);
  const int64_t tp = shape.tp;
  if (config.data.seq_length % (2 * shape.cp) != 0 && shape.cp > 1)
    throw UsageError(fmt::format("seq_length {} is not a multiple of 2 x context_parallel_size {}",
                                 config.data.seq_length, shape.cp));
  if (config.parallel.hybrid_context_parallel && !config.data.reset_attention_mask)
    throw UsageError("hybrid_context_parallel needs reset_attention_mask: without it a row is one document");
  if (config.model.padded_vocab_size() % tp != 0)
    throw UsageError(fmt::format(
        "the padded vocabulary of {} is not a multiple of tensor_model_parallel_size {}: make_vocab_size_"
        "divisible_by {} gives one",
        config.model.padded_vocab_size(), tp, tp * config.model.make_vocab_size_divisible_by));
  if (config.parallel.sequence_parallel &&
      train.micro_batch_size * config.data.seq_length / shape.cp % tp != 0)
    throw UsageError(fmt::format(
        "sequence_parallel: {} tokens of a microbatch are not a multiple of tensor_model_parallel_size {}",
        train.micro_batch_size * config.data.seq_length, tp));
}

void complete(RunConfig& config, int64_t tokenizer_vocab_size) {
  GptConfig& model = config.model;
  if (model.max_position_embeddings == 0) model.max_position_embeddings = config.data.seq_length;
  if (config.data.seq_length > model.max_position_embeddings) {
    throw UsageError(fmt::format("seq_length {} is longer than max_position_embeddings {}",
                                 config.data.seq_length, model.max_position_embeddings));
  }
  if (model.vocab_size == 0) model.vocab_size = tokenizer_vocab_size;
  if (model.vocab_size == 0) throw UsageError("vocab_size is not known: give tokenizer_model or vocab_size");
  if (tokenizer_vocab_size > model.vocab_size) {
    throw UsageError(fmt::format("vocab_size {} is smaller than the tokenizer's {} tokens ({})",
                                 model.vocab_size, tokenizer_vocab_size, config.train.tokenizer_model));
  }
}

}  // namespace megalith
