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
  f.add("pipeline_schedule", c.pipeline_schedule,
        {.help = "order of forwards and backwards in the pipeline", .allowed = schedule_names()});
  f.add("virtual_pipeline_model_parallel_size", c.virtual_pipeline_model_parallel_size,
        {.help = "model chunks of each pipeline rank; 0: what the schedule needs",
         .min = 0,
         .aliases = {{"num_virtual_stages_per_pipeline_rank", std::nullopt}}});
  f.add("pipeline_model_parallel_layout", c.pipeline_model_parallel_layout,
        {.help = "what each stage holds, as Et*3|t*4|t*2L: E embedding, t layer, L loss; default: even"});
  f.add("cp_comm_type", c.cp_comm_type,
        {.help = "how context-parallel ranks meet in attention: p2p (ring), a2a (Ulysses), all_gather",
         .allowed = {"p2p", "a2a", "all_gather"}});
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
  f.add(
      "reshard_after_forward", c.reshard_after_forward,
      {.help = "with optim_grads_params: weights are gathered again for the backward instead of being kept"});
  f.add("rank_order", c.rank_order,
        {.help = "axes from the fastest to the slowest varying with the rank",
         .aliases = {{"order", std::nullopt}}});
}

void validate(const ParallelConfig& c) {
  if (c.sequence_parallel && c.tensor_model_parallel_size == 1)
    throw UsageError("sequence_parallel needs tensor_model_parallel_size > 1");
  if (c.num_distributed_optimizer_instances > 1 && c.data_parallel_sharding_strategy == "no_shard")
    throw UsageError(
        "num_distributed_optimizer_instances > 1 needs a data_parallel_sharding_strategy that shares "
        "something: optim, optim_grads or optim_grads_params");
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
