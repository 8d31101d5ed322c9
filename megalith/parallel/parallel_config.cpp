#include "megalith/parallel/parallel_config.h"

#include <algorithm>
#include <array>

#include "megalith/base/error.h"
#include "megalith/parallel/pipeline/make_schedule.h"

namespace megalith {

std::string ParallelConfig::str() const {
  std::string text;
  const auto add = [&](const char* name, int64_t size) {
    if (size > 1) text += fmt::format("{}{}{}", text.empty() ? "" : " ", name, size);
  };
  add("tp", tensor_model_parallel_size);
  if (sequence_parallel) text += text.empty() ? "sp" : " sp";
  add("pp", pipeline_model_parallel_size);
  add("cp", context_parallel_size);
  add("ep", expert_model_parallel_size);
  add("etp", expert_tensor_parallel_size);
  if (data_parallel_sharding_strategy != "no_shard")
    text += fmt::format("{}{}", text.empty() ? "" : " ", data_parallel_sharding_strategy);
  add("x", num_distributed_optimizer_instances);
  return text.empty() ? "single" : text;
}

void declare_fields(ParallelConfig& c, FieldList& f) {
  f.add("tensor_model_parallel_size", c.tensor_model_parallel_size,
        {.help = "ranks that share each layer's matrices", .min = 1});
  f.add("pipeline_model_parallel_size", c.pipeline_model_parallel_size,
        {.help = "ranks that share the layers", .min = 1});
  f.add("context_parallel_size", c.context_parallel_size,
        {.help = "ranks that share each sequence", .min = 1});
  f.add("expert_model_parallel_size", c.expert_model_parallel_size,
        {.help = "ranks that share the experts", .min = 1});
  f.add("expert_tensor_parallel_size", c.expert_tensor_parallel_size,
        {.help = "ranks that share each expert's matrices; 0: tensor_model_parallel_size", .min = 0});
  f.add(
      "sequence_parallel", c.sequence_parallel,
      {.help = "tensor-parallel ranks share the tokens between their matrices (norms, dropout, residuals)"});
  f.add("tp_comm_overlap", c.tp_comm_overlap,
        {.help =
             "with sequence_parallel, between GPUs of one process: products are made in pieces of one rank's "
             "tokens, which travel beside the product of the piece before"});
  f.add(
      "tp_comm_fused_norm", c.tp_comm_fused_norm,
      {.help = "with tp_comm_overlap, between GPUs of one process: in the forward one kernel sums the ranks' "
               "terms, adds the residual, normalises and gathers, in place of products in pieces"});
  f.add("pipeline_schedule", c.pipeline_schedule,
        {.help = "order of forwards and backwards in the pipeline", .allowed = schedule_names()});
  f.add("virtual_pipeline_model_parallel_size", c.virtual_pipeline_model_parallel_size,
        {.help = "model chunks of each pipeline rank; 0: what the schedule needs",
         .min = 0,
         .aliases = {{"num_virtual_stages_per_pipeline_rank", std::nullopt}}});
  f.add("pipeline_model_parallel_layout", c.pipeline_model_parallel_layout,
        {.help = "what each stage holds, as Et*3|t*4|t*2L: E embedding, t layer, L loss; default: even"});
  f.add("cp_comm_type", c.cp_comm_type,
        {.help = "how context-parallel ranks meet in attention: p2p (ring), a2a (Ulysses), all_gather, a2a "
                 "inside groups and p2p between them",
         .allowed = {"p2p", "a2a", "all_gather", "a2a+p2p"}});
  f.add(
      "cp_comm_overlap", c.cp_comm_overlap,
      {.help = "with p2p and a2a+p2p: keys, values and their gradients go round the ring while the attention "
               "to those that came before is computed"});
  f.add("hierarchical_context_parallel_sizes", c.hierarchical_context_parallel_sizes,
        {.help = "with a2a+p2p: ranks of a group, and groups", .min = 1});
  f.add("hybrid_context_parallel", c.hybrid_context_parallel,
        {.help = "packed documents are shared by as few ranks as max_seqlen_per_dp_cp_rank lets them"});
  f.add("max_seqlen_per_dp_cp_rank", c.max_seqlen_per_dp_cp_rank,
        {.help = "with hybrid_context_parallel: a document up to this long lies on one rank, up to twice as "
                 "long on two",
         .min = 0});
  f.add("data_parallel_sharding_strategy", c.data_parallel_sharding_strategy,
        {.help = "what data-parallel ranks share: nothing, the optimizer state (ZeRO-1), also gradients "
                 "(ZeRO-2), also weights (ZeRO-3, FSDP)",
         .allowed = {"no_shard", "optim", "optim_grads", "optim_grads_params"},
         .aliases = {{"use_distributed_optimizer", "optim"}}});
  f.add("num_distributed_optimizer_instances", c.num_distributed_optimizer_instances,
        {.help = "groups of data-parallel ranks that share; the groups are copies (hybrid sharding)",
         .min = 1});
  f.add("overlap_grad_reduce", c.overlap_grad_reduce,
        {.help = "gradients of a layer are summed over the ranks during the backward of the next"});
  f.add("overlap_param_gather", c.overlap_param_gather,
        {.help = "shared weights of a layer are gathered while the layer before computes"});
  f.add("grad_reduce_in_bf16", c.grad_reduce_in_bf16,
        {.help = "gradients travel between data-parallel ranks in bf16 instead of f32"});
  f.add("ddp_bucket_size", c.ddp_bucket_size,
        {.help = "with no_shard: gradients are summed over the ranks when at least so many elements of "
                 "neighbouring layers have come together; 0: layer by layer",
         .min = 0});
  f.add(
      "reshard_after_forward", c.reshard_after_forward,
      {.help = "with optim_grads_params: weights are gathered again for the backward instead of being kept"});
  f.add("moe_shared_expert_overlap", c.moe_shared_expert_overlap,
        {.help = "the shared expert computes while tokens travel to their experts and back"});
  f.add("overlap_moe_expert_parallel_comm", c.overlap_moe_expert_parallel_comm,
        {.help = "with several microbatches: the forward of one runs beside the backward of another, each "
                 "computes while the other's tokens travel to their experts and back"});
  f.add("rank_order", c.rank_order,
        {.help = "axes from the fastest to the slowest varying with the rank",
         .aliases = {{"order", std::nullopt}}});
}

namespace {

void validate_context(const ParallelConfig& c) {
  const std::vector<int64_t>& sizes = c.hierarchical_context_parallel_sizes;
  if (c.cp_comm_type == "a2a+p2p") {
    if (sizes.size() != 2 || sizes[0] * sizes[1] != c.context_parallel_size)
      throw UsageError(fmt::format(
          "cp_comm_type a2a+p2p needs hierarchical_context_parallel_sizes: two numbers (ranks of a "
          "group, groups) whose product is context_parallel_size {}; given: {}",
          c.context_parallel_size, sizes.empty() ? "none" : fmt::format("{}", fmt::join(sizes, ", "))));
  } else if (!sizes.empty()) {
    throw UsageError(fmt::format(
        "hierarchical_context_parallel_sizes goes with cp_comm_type a2a+p2p, not with {}", c.cp_comm_type));
  }
  if (c.hybrid_context_parallel != (c.max_seqlen_per_dp_cp_rank > 0))
    throw UsageError("hybrid_context_parallel and max_seqlen_per_dp_cp_rank go together");
  if (c.hybrid_context_parallel && c.cp_comm_type != "p2p")
    throw UsageError(
        fmt::format("hybrid_context_parallel needs cp_comm_type p2p, where ranks that share no document send "
                    "nothing; it is {}",
                    c.cp_comm_type));
}

void validate_expert_overlap(const ParallelConfig& c) {
  if (!c.overlap_moe_expert_parallel_comm) return;
  const auto require = [](bool holds, const std::string& needed) {
    if (!holds) throw UsageError(fmt::format("overlap_moe_expert_parallel_comm needs {}", needed));
  };
  require(c.expert_model_parallel_size > 1,
          "expert_model_parallel_size > 1: on one rank nothing travels to experts");
  require(!c.moe_shared_expert_overlap,
          "moe_shared_expert_overlap false: tokens travel beside the other microbatch already");
  require(c.pipeline_model_parallel_size == 1 || pairs_passes(parse_schedule_kind(c.pipeline_schedule)),
          fmt::format("a pipeline_schedule whose forwards and backwards make pairs, 1f1b, interleaved or "
                      "dualpipev; it is {}",
                      c.pipeline_schedule));
}

}  // namespace

void validate(const ParallelConfig& c) {
  validate_context(c);
  validate_expert_overlap(c);
  if (c.sequence_parallel && c.tensor_model_parallel_size == 1)
    throw UsageError("sequence_parallel needs tensor_model_parallel_size > 1");
  if (c.tp_comm_fused_norm && !(c.tp_comm_overlap && c.sequence_parallel))
    throw UsageError("tp_comm_fused_norm needs sequence_parallel and tp_comm_overlap");
  if (c.num_distributed_optimizer_instances > 1 && c.data_parallel_sharding_strategy == "no_shard")
    throw UsageError(
        "num_distributed_optimizer_instances > 1 needs a data_parallel_sharding_strategy that shares "
        "something: optim, optim_grads or optim_grads_params");
  if (c.ddp_bucket_size > 0 && c.data_parallel_sharding_strategy != "no_shard")
    throw UsageError(fmt::format(
        "ddp_bucket_size {} goes with data_parallel_sharding_strategy no_shard, not with {}: shares are cut "
        "within a layer, and summed with it",
        c.ddp_bucket_size, c.data_parallel_sharding_strategy));
  std::array<std::string, 5> expected = {"tp", "cp", "ep", "dp", "pp"};
  std::vector<std::string> given;
  for (size_t begin = 0; begin <= c.rank_order.size();) {
    const size_t end = std::min(c.rank_order.find('-', begin), c.rank_order.size());
    given.push_back(c.rank_order.substr(begin, end - begin));
    begin = end + 1;
  }
  std::sort(expected.begin(), expected.end());
  std::sort(given.begin(), given.end());
  if (!std::equal(given.begin(), given.end(), expected.begin(), expected.end())) {
    throw UsageError(fmt::format(
        "rank_order '{}' must hold tp, cp, ep, dp and pp once each, as tp-cp-ep-dp-pp", c.rank_order));
  }
}

}  // namespace megalith
