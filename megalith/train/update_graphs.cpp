#include "megalith/train/update_graphs.h"

#include "megalith/core/cuda/cuda_graph.h"
#include "megalith/core/cuda/cuda_mark.h"
#include "megalith/core/has_cuda.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/update.h"
#include "megalith/optim/clip.h"

namespace megalith {

// Pinned memory of the host, which the device reads and writes where it lies.
struct UpdateGraphs::HostBlock {
  HostBlock(Device device, int64_t num_routers)
      : pool(device, ledger, Pool::Memory::kPinnedHost),
        factors(make({4}, device)),
        results(make({3}, device)),
        router_losses(make({num_routers, 2}, device)) {}

  Tensor make(const Shape& shape, Device device) {
    return Tensor(std::make_shared<Storage>(pool, device, shape.numel() * 8), DType::kF64, shape);
  }

  MemoryLedger ledger;
  Pool pool;
  Tensor factors;        // UpdateFactors
  Tensor results;        // UpdateResults
  Tensor router_losses;  // [routers, 2]
};

UpdateGraphs::UpdateGraphs(const Parts& parts, Exec& exec)
    : parts_(parts),
      exec_(&exec),
      host_(std::make_unique<HostBlock>(exec.device(), std::ssize(parts.model->routers()))),
      numbers_(exec.zeros({5}, DType::kF32)) {
  if constexpr (kHasCuda) is_measured_ = std::make_shared<CudaMark>(exec.cuda());
}

UpdateGraphs::~UpdateGraphs() = default;

void UpdateGraphs::run_measure() {
  int64_t index = 0;
  for (const RouterView& router : parts_.model->routers()) {
    copy(router.state->losses, host_->router_losses.slice(0, index, index + 1).view({2}), *exec_);
    fill(router.state->losses, 0, *exec_);
    ++index;
  }
  const GradSquares terms = grad_squares(parts_.model->parameters(), *parts_.mesh, *exec_);
  if (!weights_.defined())
    weights_ = exec_->from_host(std::span<const double>(terms.weights), terms.squares.shape());
  decide_update({.squares = terms.squares,
                 .weights = weights_,
                 .loss = parts_.loss,
                 .factors = host_->factors,
                 .max_norm = parts_.clip_grad,
                 .is_always_applied = parts_.is_always_applied,
                 .results = host_->results,
                 .numbers = numbers_},
                *exec_);
}

void UpdateGraphs::run_update() {
  parts_.optimizer->step_with(numbers_, *exec_);
  parts_.model->after_step(*exec_);
}

void UpdateGraphs::measure(const Step& step) {
  *reinterpret_cast<UpdateFactors*>(host_->factors.raw()) = {
      .to_mean = step.to_mean, .adamw = parts_.optimizer->next_factors(step.lr, step.weight_decay)};
  if constexpr (kHasCuda) {
    if (has_run_ && measure_graph_ == nullptr) {
      const CaptureMemory memory(exec_->pool());
      measure_graph_ = std::make_shared<CudaGraph>(exec_->cuda(), [&] { run_measure(); });
      update_graph_ = std::make_shared<CudaGraph>(exec_->cuda(), [&] { run_update(); });
    }
    if (measure_graph_ != nullptr) {
      measure_graph_->launch();
    } else {
      run_measure();
    }
    is_measured_->set();
  }
}

void UpdateGraphs::update() {
  if constexpr (kHasCuda) {
    if (update_graph_ != nullptr) return update_graph_->launch();
  }
  run_update();
  has_run_ = true;
}

StepMeasures UpdateGraphs::wait() {
  if constexpr (kHasCuda) is_measured_->wait();
  const auto& results = *reinterpret_cast<const UpdateResults*>(host_->results.raw());
  const double* losses = host_->router_losses.data<double>();
  if (results.is_applied != 0) parts_.optimizer->count_step();
  return {.loss = results.loss,
          .router_losses = {losses, losses + host_->router_losses.numel()},
          .grad_norm = results.norm};
}

}  // namespace megalith
