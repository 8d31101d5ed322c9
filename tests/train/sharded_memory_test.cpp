// What a rank holds under each data_parallel_sharding_strategy.
#include <map>

#include <gtest/gtest.h>

#include "megalith/comm/run_ranks.h"
#include "megalith/data/host_batch.h"
#include "megalith/train/build_model.h"
#include "megalith/train/train_step.h"

namespace megalith {
namespace {

constexpr int kNumRanks = 4, kNumLayers = 8, kSeq = 8;

struct Held {
  std::map<std::string, int64_t> after, at_peak;  // bytes by owner
  int64_t flat_elements = 0, layer_elements = 0, vocabulary_elements = 0;
};

// Of one rank after two steps of two microbatches.
Held run(const std::string& strategy, bool has_bf16_gradients = false) {
  RunConfig config;
  config.model.bf16 = has_bf16_gradients;
  config.optim.main_grads_dtype = has_bf16_gradients ? "bf16" : "fp32";
  config.model.num_layers = kNumLayers;
  config.model.hidden_size = 64;
  config.model.num_attention_heads = 4;
  config.model.ffn_hidden_size = 256;
  config.model.vocab_size = 128;
  config.model.max_position_embeddings = kSeq;
  config.model.position_embedding_type = "rope";
  config.model.untie_embeddings_and_output_weights = true;
  config.data.seq_length = kSeq;
  config.optim.lr_decay_style = "constant";
  config.train.micro_batch_size = 1;
  config.train.global_batch_size = 2 * kNumRanks;
  config.parallel.data_parallel_sharding_strategy = strategy;
  const auto next_batch = [](HostBatch& batch) {
    resize_batch(batch, 1, kSeq);
    fill_row(batch, 0, std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9}, {});
    finish_batch(batch);
  };
  Held held;
  run_ranks(kNumRanks, [&](Communicator& world) {
    Exec exec({.num_threads = 1, .seed = 1});
    const Mesh mesh(world, config.parallel);
    const auto model = build_model(config.model, mesh, exec);
    ParameterStore& store = model->parameters();
    store.initialize(exec);
    store.allocate_gradients(exec, config.optim.gradient_dtype());
    AdamW optimizer(store, config.optim, exec);
    const ParamSchedule schedule(config.optim, {.train_samples = 64, .samples_per_iteration = 2 * kNumRanks});
    TrainStep step({.model = model.get(), .optimizer = &optimizer, .schedule = &schedule, .mesh = &mesh},
                   config.train, config.optim.clip_grad);
    for (int i = 0; i < 2; ++i) step.run(i + 1, i * 2 * kNumRanks, next_batch, exec);
    if (world.rank() != 0) return;
    for (const MemoryLedger::Entry& entry : exec.ledger().entries()) {
      held.after[entry.owner] = entry.bytes;
      held.at_peak[entry.owner] = entry.bytes_at_peak;
    }
    held.flat_elements = store.num_flat_elements();
    for (const auto& unit : store.units()) {
      if (unit->name == "decoder.layers.0") held.layer_elements = unit->dense.size();
      if (unit->name == "output head") held.vocabulary_elements = unit->dense.size();
    }
  });
  return held;
}

constexpr int64_t kFloat = 4;

// The pool gives a block of a few per cent more than what it is asked for.
void expect_bytes(const Held& held, const std::string& owner, int64_t expected) {
  EXPECT_GE(held.after.at(owner), expected) << owner;
  EXPECT_LE(static_cast<double>(held.after.at(owner)), 1.03 * static_cast<double>(expected)) << owner;
}

TEST(ShardedMemory, EachStrategySharesMore) {
  const Held ddp = run("no_shard");
  const int64_t whole = kFloat * ddp.flat_elements;
  expect_bytes(ddp, "parameters", whole);
  expect_bytes(ddp, "gradients", whole);
  expect_bytes(ddp, "optimizer", 2 * whole);

  const Held zero1 = run("optim");
  const int64_t padded = kFloat * zero1.flat_elements, share = padded / kNumRanks;
  expect_bytes(zero1, "parameters", padded);
  expect_bytes(zero1, "gradients", padded);
  expect_bytes(zero1, "optimizer", 2 * share);

  const Held zero2 = run("optim_grads");
  expect_bytes(zero2, "parameters", padded);
  expect_bytes(zero2, "gradients", share);
  expect_bytes(zero2, "optimizer", 2 * share);

  const Held zero3 = run("optim_grads_params");
  expect_bytes(zero3, "parameters", share);
  expect_bytes(zero3, "gradients", share);
  expect_bytes(zero3, "optimizer", 2 * share);
  EXPECT_EQ(zero3.after.at("gathered weights"), 0);
}

TEST(ShardedMemory, GradientsInBf16TakeHalf) {
  constexpr int64_t kHalf = 2;
  const Held ddp = run("no_shard", true), zero2 = run("optim_grads", true);
  expect_bytes(ddp, "gradients", kHalf * ddp.flat_elements);
  expect_bytes(zero2, "gradients", kHalf * zero2.flat_elements / kNumRanks);
  const int64_t layer = kHalf * zero2.layer_elements, head = kHalf * zero2.vocabulary_elements;
  EXPECT_LE(zero2.at_peak.at("gradients"),
            kHalf * zero2.flat_elements / kNumRanks + 2 * layer + head + layer / 4);
}

// At the peak: the units that are in use or on their way, never the model.
TEST(ShardedMemory, UnitsComeAndGo) {
  const Held zero3 = run("optim_grads_params");
  const int64_t layer = kFloat * zero3.layer_elements, head = kFloat * zero3.vocabulary_elements;
  const int64_t share = kFloat * zero3.flat_elements / kNumRanks, slack = layer / 4;
  EXPECT_LE(zero3.at_peak.at("gathered weights"), 2 * layer + head + slack);
  EXPECT_LE(zero3.at_peak.at("gradients"), share + 2 * layer + head + slack);
}

}  // namespace
}  // namespace megalith
