// A mixture of experts on several GPUs of one machine.
//
//     bench_moe_ranks GPUS          dispatch and combine, beside NCCL's all-to-alls of every row
//     bench_moe_ranks GPUS layer    a layer of Qwen3-30B-A3B by phase
//     bench_moe_ranks GPUS shared   DeepSeek-V2-Lite's layer with and without moe_shared_expert_overlap
//
// Every GPU has its own tokens and its share of the experts; bf16. "peers": kernels read and write rows in
// the memory of their peers; "with room": as many as moe_expert_rank_capacity_factor 1.25 allows, so that no
// host waits for its GPU; "nccl": packed, exchanged and sorted.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>

#include "megalith/comm/launch.h"
#include "megalith/comm/run_ranks.h"
#include "megalith/nn/moe/moe_layer.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/expert_order.h"
#include "megalith/ops/random_fill.h"
#include "megalith/ops/rank_copies.h"

namespace megalith {
namespace {

constexpr int kWarmUp = 3, kRounds = 20;
constexpr double kRoom = 1.25;

struct Way {
  const char* name;
  BesideTransport beside = BesideTransport::kCopyEngines;
  double room = 0;  ///< TokenDispatcher::Choice::rank_capacity_factor
};
constexpr Way kPeers{"peers"}, kPeersWithRoom{"peers with room", BesideTransport::kCopyEngines, kRoom},
    kNccl{"nccl", BesideTransport::kNccl};

struct Rank {
  Communicator& host;
  Communicator& world;
  Exec& exec;
};

void on_gpus(int num_ranks, BesideTransport beside, const std::function<void(const Rank&)>& body) {
  run_ranks({.num_ranks = num_ranks, .timeout = std::chrono::seconds(60)}, [&](Communicator& host) {
    Exec exec({.device = {DeviceKind::kCuda, host.rank()}, .num_threads = 1});
    const RankWorld world(host, exec, {.timeout = std::chrono::seconds(60), .beside = beside});
    world.run([&](Communicator& comm) {
      body({host, comm, exec});
      exec.synchronize();
    });
  });
}

// The mean of rounds that are called one behind the other, which the slowest rank ends.
double milliseconds(const Rank& rank, const std::function<void()>& work) {
  for (int i = 0; i < kWarmUp; ++i) work();
  rank.exec.synchronize();
  rank.host.barrier("begin");
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kRounds; ++i) work();
  rank.exec.synchronize();
  rank.host.barrier("end");
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count() /
         kRounds;
}

// Different experts for each token, each equally likely.
std::vector<int32_t> random_experts(int64_t tokens, int64_t topk, int64_t num_experts, uint64_t seed) {
  std::vector<int32_t> experts, deck(static_cast<size_t>(num_experts));
  for (size_t e = 0; e < deck.size(); ++e) deck[e] = static_cast<int32_t>(e);
  uint64_t draws = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    for (size_t k = 0; k < static_cast<size_t>(topk); ++k) {
      const size_t other = k + RngKey{seed, 0}.bits(draws++) % (deck.size() - k);
      std::swap(deck[k], deck[other]);
      experts.push_back(deck[k]);
    }
  }
  return experts;
}

Tensor random_tensor(const Shape& shape, DType dtype, Exec& exec) {
  const Tensor x = exec.empty(shape, dtype);
  fill_normal({.x = x, .mean = 0, .std = 1, .rng = exec.rng().fold("x"), .first_element = 0}, exec);
  return x;
}

struct Exchange {
  int64_t tokens, hidden, topk, num_experts;
};

struct Times {
  double both = 0, bare = 0;
  double dispatch = 0, combine = 0, backward = 0;  // each by itself
  double order = 0, copies = 0, host = 0;          // what of the dispatch comes before the rows
  int64_t rows_away = 0;                           // of rank 0, that go to other ranks
};

Times measure(int num_ranks, const Exchange& e, const Way& way) {
  Times result;
  on_gpus(num_ranks, way.beside, [&](const Rank& rank) {
    Exec& exec = rank.exec;
    const Mesh mesh(rank.world, ParallelConfig{.expert_model_parallel_size = num_ranks});
    const TokenDispatcher dispatcher(DispatcherKind::kAllToAll, e.num_experts, mesh);
    const Tensor x = random_tensor({e.tokens, e.hidden}, DType::kBF16, exec);
    const Tensor probs = random_tensor({e.tokens, e.topk}, DType::kF32, exec);
    const std::vector<int32_t> chosen =
        random_experts(e.tokens, e.topk, e.num_experts, 1 + static_cast<uint64_t>(rank.host.rank()));
    const Tensor experts = exec.from_host(std::span<const int32_t>(chosen), {e.tokens, e.topk});
    Tape off(exec, {.is_recording = false, .recompute = {}});
    TokenDispatcher::Choice choice{.probs = {probs}, .experts = experts, .rank_capacity_factor = way.room};
    Times times;
    times.both = milliseconds(rank, [&] {
      const DispatchedTokens sent = dispatcher.dispatch(off, {x}, choice);
      dispatcher.combine(off, sent.x, sent.plan);
    });
    DispatchedTokens last;
    times.dispatch = milliseconds(rank, [&] { last = dispatcher.dispatch(off, {x}, choice); });
    times.combine = milliseconds(rank, [&] { dispatcher.combine(off, last.x, last.plan); });
    const double both_ways = milliseconds(rank, [&] {
      Tape tape(exec);
      const Var leaf = tape.leaf(x), weights = tape.leaf(probs);
      choice.probs = weights;
      const DispatchedTokens sent = dispatcher.dispatch(tape, leaf, choice);
      const Var combined = dispatcher.combine(tape, sent.x, sent.plan);
      tape.add_gradient(sent.probs.id, sent.probs.data);
      tape.backward(combined, x);
    });
    times.backward = both_ways - times.both;
    const auto order = [&] {
      return sort_by_expert({.experts = experts,
                             .first_expert = 0,
                             .num_experts = e.num_experts,
                             .rows_per_expert = 0,
                             .is_complete = true},
                            exec);
    };
    times.order = milliseconds(rank, [&] { order(); });
    times.copies = milliseconds(rank, [&] {
      copies_for_ranks(
          {.experts = experts, .experts_of_rank = e.num_experts / num_ranks, .num_ranks = num_ranks}, exec);
    });
    const Tensor numbers = order().offsets;
    times.host = milliseconds(rank, [&] { numbers_on_host(numbers, exec); });

    std::vector<int64_t> send_rows(static_cast<size_t>(num_ranks)), recv_rows;
    for (const int32_t expert : chosen)
      ++send_rows[static_cast<size_t>(expert / (e.num_experts / num_ranks))];
    const Tensor sent = exec.from_host(std::span<const int64_t>(send_rows), {num_ranks});
    const Tensor received = exec.empty({num_ranks}, DType::kI64);
    rank.world.all_to_all(sent, received);
    recv_rows = to_vector<int64_t>(received);
    int64_t total = 0;
    for (const int64_t rows : recv_rows) total += rows;
    const Tensor out = exec.empty({e.tokens * e.topk, e.hidden}, DType::kBF16);
    const Tensor in = exec.empty({total, e.hidden}, DType::kBF16);
    times.bare = milliseconds(rank, [&] {
      rank.world.all_to_all_v(out, send_rows, in, recv_rows);
      rank.world.all_to_all_v(in, recv_rows, out, send_rows);
    });
    times.rows_away = e.tokens * e.topk - send_rows[0];
    if (rank.host.rank() == 0) result = times;
  });
  return result;
}

void compare_exchanges(int num_ranks) {
  for (const auto& [topk, num_experts] : std::vector<std::pair<int64_t, int64_t>>{{4, 16}, {8, 256}}) {
    const Exchange e{.tokens = 8192, .hidden = 4096, .topk = topk, .num_experts = num_experts};
    for (const Way& way : {kPeers, kPeersWithRoom, kNccl}) {
      const Times t = measure(num_ranks, e, way);
      const double bytes = static_cast<double>(t.rows_away * e.hidden * 2);
      std::printf(
          "%d GPUs, %ld tokens, hidden %ld, top-%ld of %ld, %s: dispatch + combine %.3f ms, bare all-to-alls "
          "%.3f ms (%.0f GB/s each way), ratio %.2f\n"
          "  dispatch %.3f ms (order %.3f, copies for ranks %.3f, numbers to the host %.3f), combine %.3f, "
          "backward of both %.3f\n",
          num_ranks, e.tokens, e.hidden, e.topk, e.num_experts, way.name, t.both, t.bare,
          2 * bytes / t.bare * 1e-6, t.bare / t.both, t.dispatch, t.order, t.copies, t.host, t.combine,
          t.backward);
      std::fflush(stdout);
    }
  }
}

// A layer with its weights, rows that go in, and the gradient of what comes out.
struct Trial {
  Trial(const MoeLayer::Options& options, int64_t tokens, const Mesh& mesh, const Rank& of_rank)
      : rank(of_rank),
        layer(options, mesh, store),
        x(random_tensor({tokens, options.router.hidden_size}, DType::kBF16, rank.exec)),
        d_y(random_tensor({tokens, options.router.hidden_size}, DType::kBF16, rank.exec)) {
    store.materialize(rank.exec, DType::kBF16);
    store.initialize(rank.exec);
    store.allocate_gradients(rank.exec);
    layer.router().allocate_state(rank.exec);
  }
  double forward_ms() {
    Tape off(rank.exec, {.is_recording = false, .recompute = {}});
    return milliseconds(rank, [&] { layer.forward(off, context, {x}); });
  }
  double step_ms() {
    return milliseconds(rank, [&] {
      store.mark_gradients_fresh();
      Tape tape(rank.exec);
      const Var y = layer.forward(tape, context, tape.leaf(x));
      tape.backward(y, d_y);
    });
  }

  const Rank& rank;
  ParameterStore store;
  MoeLayer layer;
  Tensor x, d_y;
  ForwardContext context{.batch = 4, .is_training = true};
};

// Router, dispatch, experts and combine one after another with a wait between them, then the whole layer
// forward and backward without.
void measure_layer(int num_ranks, const Way& way) {
  constexpr int64_t kTokens = 16384, kHidden = 2048, kFfn = 768, kExperts = 128, kTopk = 8;
  on_gpus(num_ranks, way.beside, [&](const Rank& rank) {
    Exec& exec = rank.exec;
    const Mesh mesh(rank.world, ParallelConfig{.expert_model_parallel_size = num_ranks});
    Trial trial({.router = {.name = "router",
                            .hidden_size = kHidden,
                            .num_experts = kExperts,
                            .route = {.topk = kTopk},
                            .balancing = Router::Balancing::kAuxLoss,
                            .aux_loss_coeff = 0.001},
                 .experts = {.name = "experts",
                             .hidden_size = kHidden,
                             .ffn_hidden_size = kFfn,
                             .num_experts = kExperts},
                 .rank_capacity_factor = way.room},
                kTokens, mesh, rank);
    MoeLayer& layer = trial.layer;
    const Router& router = layer.router();
    const TokenDispatcher dispatcher(DispatcherKind::kAllToAll, kExperts, mesh);
    Tape off(exec, {.is_recording = false, .recompute = {}});
    const Var in{trial.x};
    RouterResult routed;
    const double route_ms = milliseconds(rank, [&] { routed = router.forward(off, trial.context, in); });
    DispatchedTokens sent;
    const double dispatch_ms = milliseconds(rank, [&] {
      sent = dispatcher.dispatch(
          off, in, {.probs = routed.probs, .experts = routed.experts, .rank_capacity_factor = way.room});
    });
    Var processed;
    const double experts_ms = milliseconds(
        rank, [&] { processed = layer.experts().forward(off, sent.x, sent.probs, sent.offsets); });
    const double combine_ms = milliseconds(rank, [&] { dispatcher.combine(off, processed, sent.plan); });
    const double forward_ms = trial.forward_ms(), step_ms = trial.step_ms();
    if (rank.host.rank() != 0) return;
    const double forward_flops = 2.0 * 3 * kHidden * kFfn * kTopk * kTokens;
    std::printf(
        "Qwen3-30B-A3B's layer on %d GPUs, %ld tokens each, %s: router %.3f ms, dispatch %.3f, experts %.3f "
        "(%.0f TFLOP/s), combine %.3f; forward %.3f ms, forward and backward %.3f ms (%.0f TFLOP/s)\n",
        num_ranks, kTokens, way.name, route_ms, dispatch_ms, experts_ms, forward_flops / experts_ms * 1e-9,
        combine_ms, forward_ms, step_ms, 3 * forward_flops / step_ms * 1e-9);
    std::fflush(stdout);
  });
}

// Forward, and forward with backward, of a layer with a shared expert.
void measure_overlap(int num_ranks, BesideTransport beside) {
  constexpr int64_t kTokens = 16384, kHidden = 2048, kFfn = 1408, kExperts = 64, kTopk = 6;
  for (const bool overlap : {false, true, false, true}) {
    on_gpus(num_ranks, beside, [&](const Rank& rank) {
      const Mesh mesh(rank.world, ParallelConfig{.expert_model_parallel_size = num_ranks,
                                                 .moe_shared_expert_overlap = overlap});
      Trial trial({.router = {.name = "router",
                              .hidden_size = kHidden,
                              .num_experts = kExperts,
                              .route = {.topk = kTopk}},
                   .experts = {.name = "experts",
                               .hidden_size = kHidden,
                               .ffn_hidden_size = kFfn,
                               .num_experts = kExperts},
                   .shared_expert = Mlp::Options{.name = "shared",
                                                 .hidden_size = kHidden,
                                                 .ffn_hidden_size = 2 * kFfn,
                                                 .activation = ActivationKind::kSwiglu}},
                  kTokens, mesh, rank);
      const double forward_ms = trial.forward_ms(), step_ms = trial.step_ms();
      if (rank.host.rank() != 0) return;
      std::printf(
          "DeepSeek-V2-Lite's layer on %d GPUs, %ld tokens each, %s, overlap %s: forward %.3f ms, "
          "forward and backward %.3f ms\n",
          num_ranks, kTokens, beside == BesideTransport::kNccl ? "nccl" : "peers", overlap ? "on" : "off",
          forward_ms, step_ms);
      std::fflush(stdout);
    });
  }
}

}  // namespace
}  // namespace megalith

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_moe_ranks GPUS [layer|shared]\n");
    return 2;
  }
  try {
    const int num_ranks = std::atoi(argv[1]);
    if (argc == 2) {
      megalith::compare_exchanges(num_ranks);
    } else if (std::string(argv[2]) == "shared") {
      megalith::measure_overlap(num_ranks, megalith::BesideTransport::kCopyEngines);
      if (num_ranks > 1) megalith::measure_overlap(num_ranks, megalith::BesideTransport::kNccl);
    } else {
      for (const megalith::Way& way : {megalith::kPeers, megalith::kPeersWithRoom, megalith::kNccl})
        if (num_ranks > 1 || way.beside != megalith::BesideTransport::kNccl)
          megalith::measure_layer(num_ranks, way);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
