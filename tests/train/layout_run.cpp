#include "tests/train/layout_run.h"

#include <mutex>

#include "megalith/comm/run_ranks.h"
#include "megalith/data/batch_loader.h"
#include "megalith/data/build_datasets.h"
#include "megalith/parallel/data/gradient_sync.h"
#include "megalith/train/build_model.h"
#include "megalith/train/train_step.h"

namespace megalith::testing {
namespace {

constexpr int64_t kGlobalBatch = 8, kSeq = 24, kVocabulary = 96;

RunConfig config_of(const LayoutCase& layout) {
  RunConfig c;
  c.model.num_layers = 8;
  c.model.hidden_size = 32;
  c.model.num_attention_heads = 8;
  c.model.ffn_hidden_size = 48;
  c.model.vocab_size = kVocabulary - 5;
  c.model.make_vocab_size_divisible_by = 16;
  c.model.max_position_embeddings = kSeq;
  c.model.init_method_std = 0.1;
  if (!layout.is_gpt2) {
    c.model.num_query_groups = 4;
    c.model.position_embedding_type = "rope";
    c.model.normalization = "RMSNorm";
    c.model.swiglu = true;
    c.model.add_bias_linear = false;
    c.model.untie_embeddings_and_output_weights = true;
  }
  if (!layout.dispatcher.empty()) {
    c.model.moe.num_experts = 8;
    c.model.moe.layer_freq = "2";
    c.model.moe.ffn_hidden_size = 16;
    c.model.moe.shared_expert_intermediate_size = 16;
    c.model.moe.router_score_function = "sigmoid";
    c.model.moe.router_enable_expert_bias = true;
    c.model.moe.router_load_balancing_type = "seq_aux_loss";
    c.model.moe.aux_loss_coeff = 0.01;
    c.model.moe.z_loss_coeff = 0.001;
    c.model.moe.token_dispatcher_type = layout.dispatcher;
  }
  c.model.hidden_dropout = c.model.attention_dropout = layout.has_dropout ? 0.1 : 0;
  c.data.mock_data = true;
  c.data.split = "100,0,0";
  c.data.seq_length = kSeq;
  c.optim.lr = 3e-3;
  c.optim.lr_decay_style = "constant";
  c.train.train_iters = 100;
  c.train.micro_batch_size = 1;
  c.train.global_batch_size = kGlobalBatch;
  c.parallel = layout.parallel;
  return c;
}

void collect_gradients(const ParameterStore& store, std::span<const FlatRange> owned, LayoutResult& result) {
  for (const auto& parameter : store.parameters()) {
    std::vector<double>& whole = result.first_gradients[parameter->name()];
    whole.resize(static_cast<size_t>(parameter->spec.shape.numel()));
    const std::vector<double> local = to_vector<double>(parameter->main_grad.view({-1}));
    parameter->spec.visit_runs([&](int64_t first, int64_t begin, int64_t length) {
      for (int64_t i = 0; i < length; ++i) {
        const int64_t flat = parameter->flat_begin + begin + i;
        for (const FlatRange& range : owned)
          if (flat >= range.begin && flat < range.end)
            whole[static_cast<size_t>(first + i)] = local[static_cast<size_t>(begin + i)];
      }
    });
  }
}

}  // namespace

LayoutResult run_layout(const LayoutCase& layout, int num_steps) {
  const RunConfig config = config_of(layout);
  LayoutResult result;
  std::mutex mutex;
  run_ranks(layout.num_ranks, [&](Communicator& world) {
    Exec exec({.num_threads = 1, .seed = 11});
    const Mesh mesh(world, config.parallel);
    const auto model = build_model(config.model, mesh, exec);
    ParameterStore& store = model->parameters();
    store.initialize(exec);
    store.allocate_gradients(exec);
    const std::vector<FlatRange> owned = owned_ranges(store, mesh);
    AdamW optimizer(store, config.optim, owned, exec);
    const ParamSchedule schedule(config.optim, {.train_samples = 800, .samples_per_iteration = kGlobalBatch});
    TrainStep step({.model = model.get(), .optimizer = &optimizer, .schedule = &schedule, .mesh = &mesh},
                   config.train, config.optim.clip_grad);
    const Datasets datasets = build_datasets(config.data, {800, 0, 0}, {.size = kVocabulary - 5, .eod = 90});
    BatchLoader loader(datasets[0], {.micro_batch_size = config.train.micro_batch_size,
                                     .data_parallel_rank = mesh.rank(Axis::kDp),
                                     .data_parallel_size = mesh.size(Axis::kDp)});
    for (int i = 0; i < num_steps; ++i) {
      const StepResult one = step.run(
          i + 1, i * kGlobalBatch, [&](HostBatch& batch) { loader.next(batch); }, exec);
      model->after_step(exec);
      const std::lock_guard lock(mutex);
      if (i == 0) collect_gradients(store, owned, result);
      if (world.rank() != 0) continue;
      result.losses.push_back(one.loss);
      result.grad_norms.push_back(one.grad_norm);
    }
  });
  return result;
}

std::vector<LayoutCase> layout_cases() {
  std::vector<LayoutCase> cases;
  const auto add = [&](const std::string& name, int num_ranks, const ParallelConfig& parallel) {
    cases.push_back({.name = "Llama_" + name, .num_ranks = num_ranks, .parallel = parallel});
    cases.push_back({.name = "Gpt2_" + name, .num_ranks = num_ranks, .parallel = parallel, .is_gpt2 = true});
  };
  const auto dp = [](const std::string& strategy) {
    return ParallelConfig{.data_parallel_sharding_strategy = strategy};
  };
  add("Dp2", 2, {});
  add("Dp4", 4, {});
  add("Zero1Dp2", 2, dp("optim"));
  add("Zero1Dp4", 4, dp("optim"));
  add("Tp2", 2, {.tensor_model_parallel_size = 2});
  add("Tp4", 4, {.tensor_model_parallel_size = 4});
  add("Tp2Sp", 2, {.tensor_model_parallel_size = 2, .sequence_parallel = true});
  add("Tp4Sp", 4, {.tensor_model_parallel_size = 4, .sequence_parallel = true});
  for (const auto& [name, schedule] : std::map<std::string, std::string>{{"GPipe", "gpipe"},
                                                                         {"1F1B", "1f1b"},
                                                                         {"Interleaved", "interleaved"},
                                                                         {"ZbH1", "zb-h1"},
                                                                         {"ZbV", "zb-v"},
                                                                         {"DualPipeV", "dualpipev"}}) {
    add("Pp2" + name, 2, {.pipeline_model_parallel_size = 2, .pipeline_schedule = schedule});
    add("Pp4" + name, 4, {.pipeline_model_parallel_size = 4, .pipeline_schedule = schedule});
  }
  for (const auto& [name, kind] : std::map<std::string, std::string>{
           {"Ring", "p2p"}, {"AllToAll", "a2a"}, {"AllGather", "all_gather"}}) {
    add("Cp2" + name, 2, {.context_parallel_size = 2, .cp_comm_type = kind});
    add("Cp4" + name, 4, {.context_parallel_size = 4, .cp_comm_type = kind});
  }
  add("Tp2Cp2Pp2", 8,
      {.tensor_model_parallel_size = 2,
       .pipeline_model_parallel_size = 2,
       .context_parallel_size = 2,
       .sequence_parallel = true});
  add("Pp2Uneven", 2, {.pipeline_model_parallel_size = 2, .pipeline_model_parallel_layout = "Et*3|t*5L"});
  add("Tp2Pp2Dp2", 8,
      {.tensor_model_parallel_size = 2,
       .pipeline_model_parallel_size = 2,
       .sequence_parallel = true,
       .data_parallel_sharding_strategy = "optim"});
  add("Tp2Pp2Dp2OtherOrder", 8,
      {.tensor_model_parallel_size = 2, .pipeline_model_parallel_size = 2, .rank_order = "tp-cp-ep-pp-dp"});
  const auto add_moe = [&](const std::string& name, int num_ranks, const ParallelConfig& parallel) {
    for (const std::string dispatcher : {"alltoall", "allgather"})
      cases.push_back({.name = "Moe_" + dispatcher + "_" + name,
                       .num_ranks = num_ranks,
                       .parallel = parallel,
                       .dispatcher = dispatcher});
  };
  add_moe("Ep2", 2, {.expert_model_parallel_size = 2});
  add_moe("Ep4", 4, {.expert_model_parallel_size = 4});
  add_moe("Dp2Ep1", 2, {});
  for (const int64_t etp : {1, 2})
    add_moe("Tp2SpEp2Etp" + std::to_string(etp), 4,
            {.tensor_model_parallel_size = 2,
             .expert_model_parallel_size = 2,
             .expert_tensor_parallel_size = etp,
             .sequence_parallel = true});
  add_moe("Ep2Pp2", 4, {.pipeline_model_parallel_size = 2, .expert_model_parallel_size = 2});
  add_moe("Ep2Pp2ZbV", 4,
          {.pipeline_model_parallel_size = 2, .expert_model_parallel_size = 2, .pipeline_schedule = "zb-v"});
  add_moe("Ep2Edp2Zero1", 4, {.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = "optim"});
  cases.push_back({.name = "Gpt2_Dp2Dropout", .num_ranks = 2, .is_gpt2 = true, .has_dropout = true});
  return cases;
}

}  // namespace megalith::testing
