#include "megalith/plan/layout_estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/models/gpt/gpt_flops.h"
#include "megalith/plan/data_traffic.h"
#include "megalith/plan/layer_traffic.h"
#include "megalith/plan/layout_search.h"
#include "megalith/plan/stage_work.h"

namespace megalith {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// The 1.14 B model of docs/benchmarks/h200.md.
RunConfig llama_1b() {
  RunConfig config;
  GptConfig& model = config.model;
  model.num_layers = 16;
  model.hidden_size = 2048;
  model.num_attention_heads = 16;
  model.num_query_groups = 8;
  model.ffn_hidden_size = 8192;
  model.vocab_size = 32000;
  model.position_embedding_type = "rope";
  model.normalization = "RMSNorm";
  model.swiglu = true;
  model.add_bias_linear = false;
  model.untie_embeddings_and_output_weights = true;
  model.hidden_dropout = model.attention_dropout = 0;
  model.bf16 = true;
  model.max_position_embeddings = config.data.seq_length = 4096;
  config.train.train_iters = 1;
  config.train.micro_batch_size = config.train.global_batch_size = 8;
  return config;
}

// A cluster on which only the matrix products take time: 1 TFLOP/s.
Cluster products_only() {
  Cluster cluster = find_cluster("h200x8");
  cluster.matmul_tflops = 1;
  cluster.expert_product_setup = 0;
  cluster.attention_forward_tflops = cluster.attention_backward_tflops = 1e15;
  cluster.memory_gb_per_s = 1e15;
  return cluster;
}

TEST(StageWork, ProductsAreThoseOfTheFlopsFormula) {
  for (const int64_t experts : {0, 8}) {
    RunConfig config = llama_1b();
    config.model.moe.num_experts = experts;
    config.model.moe.ffn_hidden_size = 1024;
    config.model.moe.shared_expert_intermediate_size = 512;
    const StageWork work =
        stage_work(config, {}, {.count = 16, .has_embedding = true, .has_loss = true}, products_only());
    const double attention = 6 * 2048.0 * 4097 * 16;
    const double products = gpt_flops_per_token(config.model, 4096).true_work - attention;
    EXPECT_NEAR(work.total() / (products * 8 * 4096 * 1e-12), 1, 1e-9) << experts;
  }
}

TEST(StageWork, NormsOfHeadsAndPackedRowsTakeTheirTime) {
  RunConfig config = llama_1b();
  config.model.num_layers = 1;
  config.model.moe.num_experts = 8;
  config.model.moe.ffn_hidden_size = 1024;
  config.model.moe.router_topk = 8;  // every rank has some of a token's experts
  const MeshShape shape{.ep = 4, .edp = 2};
  const Cluster cluster = find_cluster("h200x8");
  const StageLayers stage{.count = 1};
  constexpr double kTokens = 8 * 4096;
  const auto bytes_more_than = [&](const StageWork& before) {
    const StageWork now = stage_work(config, shape, stage, cluster);
    const double rate = cluster.memory_gb_per_s * 1e9 / kTokens;
    EXPECT_NEAR((now.backward_input - before.backward_input) * rate, (now.forward - before.forward) * rate,
                1);
    EXPECT_EQ(now.backward_weight, before.backward_weight);
    return (now.forward - before.forward) * rate;
  };
  const StageWork plain = stage_work(config, shape, stage, cluster);
  config.model.qk_layernorm = true;
  EXPECT_NEAR(bytes_more_than(plain), 3 * 2 * (2048 + 1024), 1)
      << "of a token: two reads and a write, or the other way";
  config.model.qk_layernorm = false;
  config.parallel.overlap_moe_expert_parallel_comm = true;
  EXPECT_NEAR(bytes_more_than(plain), 4 * 4 * 2 * 2048, 1)
      << "of the copies for four ranks: in and out, both ways";
}

TEST(StageWork, CopiesToTheHostTakeTheirTime) {
  RunConfig config = llama_1b();
  Cluster cluster = find_cluster("h200x8");
  const StageLayers stage{.count = 16, .has_embedding = true, .has_loss = true};
  const StageWork plain = stage_work(config, {}, stage, cluster);
  config.train.cpu_offloading_num_layers = 8;
  const StageWork on_link = stage_work(config, {}, stage, cluster);
  const double elements = 4 * 2048 + 2 * (2048 + 1024) + 3 * 8192;  // of a token in a layer
  const double copies = 8 * 8 * 4096 * (2 * elements + 4 * (16 + 2)) / (cluster.host_gb_per_s * 1e9);
  EXPECT_GE(on_link.forward, copies);
  EXPECT_GT(on_link.forward, plain.forward);
  EXPECT_NEAR(on_link.backward_input + on_link.backward_weight, copies, 0.1 * copies);
  cluster.host_gb_per_s = 1e9;
  const StageWork beside = stage_work(config, {}, stage, cluster);
  EXPECT_EQ(beside.total(), plain.total());
}

TEST(StageWork, TensorParallelismDividesTheProducts) {
  RunConfig config = llama_1b();
  const StageLayers whole{.count = 16, .has_embedding = true, .has_loss = true};
  const double alone = stage_work(config, {}, whole, products_only()).total();
  EXPECT_NEAR(stage_work(config, {.world = 4, .tp = 4}, whole, products_only()).total(), alone / 4,
              1e-9 * alone);
}

TEST(Traffic, LinksKnowWhereTheirRanksAre) {
  Cluster cluster = find_cluster("h200x8");
  cluster.node_gb_per_s = 300;
  cluster.network_gb_per_s = 50;
  const RankLayout layout({.world = 32, .tp = 4, .dp = 8, .etp = 4, .edp = 8});
  const Link tp = group_link(layout, {Axis::kTp}, cluster), dp = group_link(layout, {Axis::kDp}, cluster);
  EXPECT_FALSE(tp.crosses_nodes);
  EXPECT_EQ(tp.bytes_per_s, 300e9);
  EXPECT_TRUE(dp.crosses_nodes);
  EXPECT_EQ(dp.ranks, 8);
  EXPECT_EQ(dp.bytes_per_s, 100e9);  // two of its ranks in each node
  EXPECT_EQ(wire_bytes(Transfer::kAllReduce, 800, 8), 1400);
  EXPECT_EQ(wire_bytes(Transfer::kAllGather, 800, 8), 700);
  EXPECT_DOUBLE_EQ(collective_seconds(Transfer::kReduceScatter, 8e9, dp), dp.latency_s + 7e9 / 100e9);
}

TEST(Traffic, OfTheDataParallelRanks) {
  RunConfig config = llama_1b();
  const Link link{.ranks = 4, .bytes_per_s = 1e9};
  const auto bytes = [&](const char* strategy, double num_microbatches) {
    config.parallel.data_parallel_sharding_strategy = strategy;
    return data_traffic(config, 100, num_microbatches, link).bytes;
  };
  EXPECT_EQ(bytes("no_shard", 2), 2 * 300);                        // f32 sums
  EXPECT_EQ(bytes("optim", 2), 300 + 150);                         // f32 sums, bf16 weights
  EXPECT_EQ(bytes("optim_grads", 2), 2 * 300 + 150);               // sums of each microbatch
  EXPECT_EQ(bytes("optim_grads_params", 2), 2 * (300 + 2 * 150));  // weights for forward and backward
}

TEST(Traffic, OfTheResidualStream) {
  RunConfig config = llama_1b();
  const Link link{.ranks = 2, .bytes_per_s = 1e9};
  const double stream = 8 * 4096 * 2048 * 2.0;
  const MeshShape shape{.world = 2, .tp = 2};
  EXPECT_EQ(tensor_traffic(config, shape, link).forward_bytes, 2 * stream);
  config.parallel.sequence_parallel = true;
  EXPECT_EQ(tensor_traffic(config, shape, link).forward_bytes, 2 * stream);
  EXPECT_EQ(tensor_traffic(config, shape, link).backward_bytes, 3 * stream);
  const auto expect_hidden = [&](double forward_streams, double backward_streams) {
    const InlineTraffic traffic = tensor_traffic(config, shape, link);
    EXPECT_DOUBLE_EQ(traffic.hidden_forward_seconds, forward_streams * stream / 1e9);
    EXPECT_DOUBLE_EQ(traffic.hidden_backward_seconds, backward_streams * stream / 1e9);
  };
  expect_hidden(2 * 0.84, 2 + 0.84);
  config.parallel.tp_comm_overlap = false;
  expect_hidden(0, 2);
  config.parallel.pipeline_model_parallel_size = 2;
  config.parallel.pipeline_schedule = "zb-h1";
  expect_hidden(0, 0);
  config.parallel.tp_comm_overlap = true;
  expect_hidden(2 * 0.84, 2 * 0.84);
}

TEST(Traffic, OfARingUnderWindowsAndOfFewRanks) {
  RunConfig config = llama_1b();
  const Link link{.ranks = 8, .bytes_per_s = 1e9};
  const MeshShape shape{.world = 8, .cp = 8};
  const auto bytes = [&] { return context_traffic(config, shape, link).forward_bytes; };
  const double all = bytes(), of_rank = all / 7;
  const InlineTraffic beside = context_traffic(config, shape, link);
  EXPECT_DOUBLE_EQ(beside.hidden_forward_seconds, 0.87 * all / 1e9);
  EXPECT_DOUBLE_EQ(beside.hidden_backward_seconds, 0.87 * 3 * all / 1e9);
  config.parallel.cp_comm_overlap = false;
  EXPECT_EQ(context_traffic(config, shape, link).hidden_backward_seconds, 0);
  // Chunks of 256 tokens: one before a rank's own two is all that 256 tokens reach, two for 257. The rank
  // that sees most has its chunks in the middle of their halves.
  config.model.window_size = {256, 0};
  EXPECT_DOUBLE_EQ(bytes(), 2 * of_rank);
  config.model.window_size = {257, 0};
  EXPECT_DOUBLE_EQ(bytes(), 4 * of_rank);
  config.model.window_size = {4096, 0};
  EXPECT_DOUBLE_EQ(bytes(), all);
  config.model.window_size = {256, 0};
  config.model.window_attn_skip_freq = "([1]*8+[0]*8)";
  EXPECT_DOUBLE_EQ(bytes(), (2 + 7) / 2.0 * of_rank);
  config.model.window_size = {};
  config.model.window_attn_skip_freq = "";
  config.parallel.hybrid_context_parallel = true;
  config.parallel.max_seqlen_per_dp_cp_rank = 1024;
  EXPECT_DOUBLE_EQ(bytes(), 3 * of_rank);  // 4096 tokens on four ranks
}

TEST(Traffic, OfTokensThatTravelOnceToARank) {
  RunConfig config = llama_1b();
  config.model.moe.num_experts = 16;
  config.model.moe.router_topk = 4;
  const Link link{.ranks = 4, .bytes_per_s = 1e9};
  const double stream = 8 * 4096 * 2048 * 2.0;
  // 4 (1 - C(12, 4) / C(16, 4)) copies of a token, a quarter of which stays.
  EXPECT_NEAR(expert_traffic(config, {.world = 4, .ep = 4}, link).forward_bytes / stream,
              2 * 4 * (1 - 495.0 / 1820) * 3 / 4, 1e-9);
  config.model.moe.router_topk = 16;
  EXPECT_NEAR(expert_traffic(config, {.world = 4, .ep = 4}, link).forward_bytes / stream, 2 * 3, 1e-9);
}

TEST(StageWork, WindowsShortenAttention) {
  for (const int64_t seq : {1, 2, 7, 40})
    for (const int64_t window : {-1, 0, 1, 5, 39, 100}) {
      double keys = 0;
      for (int64_t query = 0; query < seq; ++query)
        keys += static_cast<double>(window < 0 ? query + 1 : std::min(query, window) + 1);
      EXPECT_DOUBLE_EQ(mean_visible_keys(seq, window), keys / static_cast<double>(seq))
          << seq << " " << window;
    }
  RunConfig config = llama_1b();
  Cluster cluster = products_only();
  cluster.matmul_tflops = 1e15;
  cluster.attention_forward_tflops = 1;
  const StageLayers layers{.count = 16};
  const double all = stage_work(config, {}, layers, cluster).forward;
  config.model.window_size = {1023, 0};
  config.model.window_attn_skip_freq = "([1]*12+[0]*4)";
  const double share = 0.25 + 0.75 * mean_visible_keys(4096, 1023) / mean_visible_keys(4096, -1);
  EXPECT_NEAR(stage_work(config, {}, layers, cluster).forward / all, share, 1e-9);
}

// 412.7 ms and 61.3 GiB were measured (docs/benchmarks/h200.md).
TEST(LayoutEstimate, IsCloseToTheMeasuredStep) {
  const LayoutEstimate estimate = estimate_layout(llama_1b(), 1, find_cluster("h200x8"));
  EXPECT_NEAR(estimate.step_seconds / 0.4127, 1, 0.15);
  EXPECT_NEAR(static_cast<double>(estimate.fullest().total()) / (61.3 * (1 << 30)), 1, 0.1);
  EXPECT_TRUE(estimate.fits);
  EXPECT_TRUE(estimate.traffic.empty());
}

// Milliseconds and GiB measured on H200s (docs/benchmarks/h200_ranks.md).
TEST(LayoutEstimate, IsWithin15PercentOfLayoutsThatWereRun) {
  const Cluster cluster = find_cluster("h200x8");
  int num_ranks = 4;
  const auto expect_close = [&](const char* name, const RunConfig& config, double step_ms, double gib) {
    const LayoutEstimate estimate = estimate_layout(config, num_ranks, cluster);
    EXPECT_NEAR(estimate.step_seconds * 1e3 / step_ms, 1, 0.15) << name;
    EXPECT_NEAR(static_cast<double>(estimate.fullest().total()) / (gib * (1 << 30)), 1, 0.15) << name;
  };
  RunConfig config = llama_1b();
  config.train.global_batch_size = 32;
  expect_close("DDP", config, 434.9, 59.2);
  config.parallel.data_parallel_sharding_strategy = "optim";
  expect_close("ZeRO-1", config, 430.7, 49.6);
  config.parallel.data_parallel_sharding_strategy = "optim_grads_params";
  expect_close("ZeRO-3", config, 431.3, 45.2);

  config.model.num_layers = 32;
  config.model.hidden_size = 4096;
  config.model.num_attention_heads = config.model.num_query_groups = 32;
  config.model.ffn_hidden_size = 11008;
  config.train.micro_batch_size = 4;
  config.train.global_batch_size = 16;
  expect_close("7 B, ZeRO-3", config, 1236.2, 95.8);
  config.parallel = {};
  config.parallel.tensor_model_parallel_size = 4;
  config.parallel.sequence_parallel = true;
  config.parallel.tp_comm_overlap = false;
  config.train.global_batch_size = 4;
  expect_close("7 B, TP4, whole products", config, 397.2, 45.2);
  config.parallel.tp_comm_overlap = true;
  expect_close("7 B, TP4", config, 355.6, 45.0);
  config.parallel.tp_comm_overlap = false;
  num_ranks = 2;
  config.parallel.tensor_model_parallel_size = 2;
  expect_close("7 B, TP2, whole products", config, 674.6, 90.2);
  config.parallel.tp_comm_overlap = true;
  expect_close("7 B, TP2", config, 639.7, 90.2);
  num_ranks = 4;
  config.parallel = {};
  config.parallel.pipeline_model_parallel_size = 4;
  config.train.micro_batch_size = 1;
  config.train.global_batch_size = 32;
  config.parallel.pipeline_schedule = "zb-v";
  expect_close("7 B, PP4 ZB-V", config, 2631.6, 48.6);
  config.parallel.pipeline_schedule = "zb-h1";
  expect_close("7 B, PP4 ZB-H1", config, 2712.0, 46.2);

  config.parallel = {};
  config.parallel.data_parallel_sharding_strategy = "optim_grads_params";
  config.train.recompute_granularity = "selective";
  config.train.recompute_modules = {"mlp_act"};
  config.train.micro_batch_size = 4;
  config.train.global_batch_size = 16;
  expect_close("7 B, ZeRO-3, mlp_act", config, 1197.8, 85.2);
  config.model.num_query_groups = 8;
  config.model.ffn_hidden_size = 14336;
  config.model.vocab_size = 128256;
  config.model.max_position_embeddings = config.data.seq_length = 8192;
  config.train.micro_batch_size = 2;
  config.train.global_batch_size = 8;
  expect_close("8 B at 8,192, ZeRO-3", config, 1475.7, 93.3);
  config.model.max_position_embeddings = config.data.seq_length = 65536;
  config.train.micro_batch_size = config.train.global_batch_size = 1;
  config.parallel.context_parallel_size = 4;
  expect_close("8 B at 65,536, ring", config, 3328.9, 93.1);
  config.parallel.cp_comm_type = "a2a";
  expect_close("8 B at 65,536, all-to-all", config, 3220.4, 97.3);

  // Layers of Qwen3-30B-A3B (docs/benchmarks/experts.md).
  config = llama_1b();
  config.model.num_layers = 8;
  config.model.num_attention_heads = 32;
  config.model.num_query_groups = 4;
  config.model.kv_channels = 128;
  config.model.qk_layernorm = true;
  config.model.ffn_hidden_size = 6144;
  config.model.vocab_size = 151936;
  config.model.moe.num_experts = 128;
  config.model.moe.ffn_hidden_size = 768;
  config.model.moe.router_topk = 8;
  config.train.micro_batch_size = 4;
  config.train.global_batch_size = 16;
  config.parallel.expert_model_parallel_size = 4;
  expect_close("8 layers with experts, EP4", config, 248.4, 49.9);
  num_ranks = 1;
  config.parallel.expert_model_parallel_size = 1;
  config.train.global_batch_size = 4;
  expect_close("8 layers with experts, one GPU", config, 264.4, 110.2);
  config.model.num_layers = 6;
  num_ranks = 2;
  config.parallel.expert_model_parallel_size = 2;
  config.train.global_batch_size = 32;
  expect_close("6 layers with experts, EP2", config, 786.6, 56.2);
  config.parallel.overlap_moe_expert_parallel_comm = true;
  expect_close("6 layers with experts, EP2 in pairs", config, 787.7, 57.0);
}

// The last bucket is summed when the backward is over.
TEST(LayoutEstimate, TheLastBucketIsNotHidden) {
  RunConfig config = llama_1b();
  config.train.global_batch_size = 32;
  const auto dp_traffic = [&](int64_t bucket) {
    config.parallel.ddp_bucket_size = bucket;
    for (const AxisTraffic& traffic : estimate_layout(config, 4, find_cluster("h200x8")).traffic)
      if (traffic.axis == "dp") return traffic;
    return AxisTraffic{};
  };
  const AxisTraffic by_unit = dp_traffic(0);
  EXPECT_GT(by_unit.exposed, 0);
  EXPECT_EQ(dp_traffic(1).exposed, by_unit.exposed);
  constexpr int64_t kBucket = 400'000'000;
  constexpr double kElements = 2 * 32000 * 2048.0 + 16 * (6144 + 3 * 8192 + 2) * 2048.0 + 2048;
  EXPECT_NEAR(dp_traffic(kBucket).exposed / by_unit.seconds, kBucket / kElements, 1e-3);
  EXPECT_EQ(dp_traffic(int64_t{1} << 40).exposed, by_unit.seconds);
}

TEST(LayoutEstimate, PipelinesHaveABubbleAndLayersToShare) {
  RunConfig config = llama_1b();
  config.train.micro_batch_size = 1;
  config.train.global_batch_size = 32;
  const LayoutEstimate alone = estimate_layout(config, 1, find_cluster("h200x8"));
  config.parallel.pipeline_model_parallel_size = 4;
  const LayoutEstimate piped = estimate_layout(config, 4, find_cluster("h200x8"));
  EXPECT_GT(piped.bubble_fraction, 3.0 / 35 - 0.01);
  EXPECT_LT(piped.tokens_per_second_per_gpu, alone.tokens_per_second_per_gpu);
  EXPECT_GT(piped.tokens_per_second_per_gpu, 0.7 * alone.tokens_per_second_per_gpu);
  EXPECT_LT(piped.fullest().optimizer, alone.fullest().optimizer / 2);
}

// All but the first forward and the last backward are pairs, in which the one computes while the other's
// tokens travel, for as long as it computes.
TEST(LayoutEstimate, PairsHideWhatTravelsToExperts) {
  RunConfig config = llama_1b();
  config.model.moe.num_experts = 16;
  config.model.moe.ffn_hidden_size = 1024;
  config.train.micro_batch_size = 1;
  config.train.global_batch_size = 8;
  config.parallel.expert_model_parallel_size = 2;
  constexpr double kMicrobatches = 4;
  Cluster cluster = find_cluster("h200x8");
  cluster.memory_gb_per_s = 1e15;  // rows are packed in no time
  const auto ep_traffic = [](const LayoutEstimate& estimate) {
    for (const AxisTraffic& traffic : estimate.traffic)
      if (traffic.axis == "ep") return traffic;
    return AxisTraffic{};
  };
  const LayoutEstimate plain = estimate_layout(config, 2, cluster);
  config.parallel.overlap_moe_expert_parallel_comm = true;
  const LayoutEstimate paired = estimate_layout(config, 2, cluster);
  const double seconds = ep_traffic(plain).seconds;
  EXPECT_GT(seconds, 0);
  EXPECT_EQ(ep_traffic(paired).bytes, ep_traffic(plain).bytes);
  EXPECT_NEAR(ep_traffic(paired).exposed / (seconds / kMicrobatches), 1, 1e-9);
  EXPECT_NEAR((plain.step_seconds - paired.step_seconds) / (seconds * 3 / kMicrobatches), 1, 1e-6);
  EXPECT_EQ(paired.fullest().total(), plain.fullest().total())
      << "a layer of the one for a layer of the other";

  // On a link that is slower than all computing, what is hidden is the computing.
  cluster.node_gb_per_s *= 1e-4;
  const LayoutEstimate slow = estimate_layout(config, 2, cluster);
  config.parallel.overlap_moe_expert_parallel_comm = false;
  EXPECT_NEAR((estimate_layout(config, 2, cluster).step_seconds - slow.step_seconds) /
                  (plain.compute_seconds * 3 / kMicrobatches),
              1, 1e-6);
}

TEST(LayoutEstimate, RefusesByKey) {
  RunConfig config = llama_1b();
  config.parallel.tensor_model_parallel_size = 16;
  EXPECT_THAT([&] { estimate_layout(config, 16, find_cluster("h200x8")); },
              ThrowsMessage<UsageError>(HasSubstr("num_query_groups 8 is not a multiple of")));
  EXPECT_THAT([&] { find_cluster("h200x9"); }, ThrowsMessage<UsageError>(HasSubstr("did you mean h200x8?")));
}

TEST(SearchLayouts, FindsTheFastestThatFits) {
  RunConfig config = llama_1b();
  config.train.micro_batch_size = 1;
  config.train.global_batch_size = 64;
  Cluster cluster = find_cluster("h200x8");
  cluster.gpu_memory_gib = 24;
  int64_t last = 0;
  const SearchResult found =
      search_layouts(config, 8, cluster, 5, [&](int64_t done, int64_t all) { last = all - done; });
  EXPECT_EQ(last, 0);
  ASSERT_EQ(found.best.size(), 5U);
  EXPECT_GT(found.num_tried, found.num_fitting);
  for (size_t i = 0; i < found.best.size(); ++i) {
    EXPECT_TRUE(found.best[i].fits);
    if (i > 0) {
      EXPECT_GE(found.best[i].step_seconds, found.best[i - 1].step_seconds);
    }
  }
  EXPECT_EQ(found.best.front().shape.dp, 8);  // a small model on one node
  config.parallel.data_parallel_sharding_strategy = "optim";
  EXPECT_LE(found.best.front().step_seconds, estimate_layout(config, 8, cluster).step_seconds);
}

TEST(LayoutSearch, TriesSizesThatAreNoPowersOfTwoAndSaysWhyNoneCanBe) {
  RunConfig config = llama_1b();
  config.model.num_layers = 12;
  const Cluster cluster = find_cluster("h200x8");
  config.train.micro_batch_size = 8;
  config.train.global_batch_size = 0;  // that of one microbatch
  const auto search = [&](int world) {
    return search_layouts(config, world, cluster, 100, [](int64_t, int64_t) {});
  };
  const SearchResult some = search(6);  // three ranks of data parallelism do not share eight sequences
  ASSERT_FALSE(some.best.empty());
  for (const LayoutEstimate& each : some.best) EXPECT_EQ(each.shape.pp % 3, 0);
  const SearchResult none = search(13);
  EXPECT_EQ(none.num_tried, 0);
  EXPECT_THAT(none.refusal, HasSubstr("global_batch_size 8 is not a multiple of micro_batch_size 1 x 13"));
}

}  // namespace
}  // namespace megalith
