// A layer of experts whose rows have room asks its GPU for forward and backward without waiting for it: here
// the GPUs do not begin before the hosts are through.
#include <atomic>
#include <chrono>
#include <thread>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "megalith/nn/moe/moe_layer.h"
#include "megalith/ops/random_fill.h"

#include "tests/multi_gpu/gpu_ranks.h"

namespace megalith {
namespace {

constexpr int64_t kTokens = 512, kHidden = 256;

// Holds a stream up until it is opened, but not for ever.
struct Gate {
  std::atomic<bool> is_open = false, has_given_up = false;

  static void wait(void* gate) {
    auto& self = *static_cast<Gate*>(gate);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!self.is_open && !self.has_given_up) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (std::chrono::steady_clock::now() > end) self.has_given_up = true;
    }
  }
};

Tensor random_on(const GpuRank& rank, const std::string& name) {
  const Tensor x = rank.exec.empty({kTokens, kHidden}, DType::kBF16);
  fill_normal({.x = x, .mean = 0, .std = 1, .rng = rank.exec.rng().fold(name), .first_element = 0},
              rank.exec);
  return x;
}

// Whether the hosts were through a step of one layer while the GPUs stood still, and its bits.
bool runs_ahead(const GpuRank& rank, double factor, std::vector<std::vector<double>>& results) {
  const Mesh mesh(rank.world, ParallelConfig{.expert_model_parallel_size = rank.world.size()});
  ParameterStore store;
  MoeLayer layer(
      {.router = {.name = "router",
                  .hidden_size = kHidden,
                  .num_experts = 16,
                  .route = {.topk = 4},
                  .balancing = Router::Balancing::kAuxLoss,
                  .aux_loss_coeff = 0.01,
                  .counts_dropped = factor > 0},
       .experts = {.name = "experts", .hidden_size = kHidden, .ffn_hidden_size = 128, .num_experts = 16},
       .rank_capacity_factor = factor},
      mesh, store);
  store.materialize(rank.exec, DType::kBF16);
  store.initialize(rank.exec);
  store.allocate_gradients(rank.exec);
  layer.router().allocate_state(rank.exec);
  const ForwardContext context{.is_training = true};
  const Tensor in = random_on(rank, "x"), d_y = random_on(rank, "d_y");
  const auto step = [&] {
    store.mark_gradients_fresh();
    Tape tape(rank.exec);
    const Var x = tape.leaf(in), y = layer.forward(tape, context, x);
    tape.backward(y, d_y);
    return std::vector<Tensor>{y.data, tape.gradient(x), store.parameters()[0]->main_grad};
  };
  for (int i = 0; i < 3; ++i) step();  // kernels are loaded, memory is there
  rank.exec.synchronize();
  Gate gate;
  rank.host.barrier("gates");
  const auto stream = rank.exec.cuda().stream();
  EXPECT_EQ(cudaLaunchHostFunc(stream, Gate::wait, &gate), cudaSuccess);
  const std::vector<Tensor> outputs = step();
  const bool is_ahead = !gate.has_given_up;
  rank.host.barrier("all are through");
  gate.is_open = true;
  rank.exec.synchronize();
  for (const Tensor& tensor : outputs) results.push_back(to_vector<double>(tensor));
  return is_ahead;
}

TEST(GpuExperts, WithRoomForTheirRowsNoHostWaits) {
  MG_NEED_GPUS(2);
  on_gpus(2, [](const GpuRank& rank) {
    std::vector<std::vector<double>> bounded, unbounded;
    EXPECT_TRUE(runs_ahead(rank, 2, bounded)) << "a host waited for its GPU";
    EXPECT_FALSE(runs_ahead(rank, 0, unbounded)) << "the test would not see a host that waits";
    EXPECT_EQ(bounded, unbounded);
  });
}

}  // namespace
}  // namespace megalith
