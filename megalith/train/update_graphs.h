#pragma once
// defines: StepMeasures, UpdateGraphs

#include <memory>
#include <vector>

#include "megalith/models/language_model.h"
#include "megalith/optim/adamw.h"
#include "megalith/parallel/mesh.h"

namespace megalith {

class CudaGraph;
class CudaMark;

/// What the microbatches of a step came to on this rank, as the backward left it.
struct StepMeasures {
  double loss = 0;
  std::vector<double> router_losses;  ///< load balance and z of each router
  double grad_norm = 0;
};

/// The end of a step of one rank on a GPU: the norm of the gradients and whether they are applied, then AdamW
/// and the routers' biases, as two CUDA graphs. The device decides (ops/update.h) and does not wait for the
/// host, which learns what came out while AdamW runs. The kernels and their numbers are those of an eager
/// step. The first step runs without graphs, so that a capture finds what it needs.
class UpdateGraphs {
 public:
  struct Parts {
    LanguageModel* model = nullptr;
    AdamW* optimizer = nullptr;
    const Mesh* mesh = nullptr;
    Tensor loss;  // [1] f64: sum over the microbatches, cleared for the next step
    double clip_grad = 0;
    bool is_always_applied = false;  ///< also with NaN or Inf
  };
  UpdateGraphs(const Parts& parts, Exec& exec);
  ~UpdateGraphs();
  UpdateGraphs(const UpdateGraphs&) = delete;
  UpdateGraphs& operator=(const UpdateGraphs&) = delete;

  struct Step {
    double lr = 0, weight_decay = 0;
    double to_mean = 1;  ///< step_losses.h
  };
  /// Asks for the norm and the decision; finish_gradients() is done.
  void measure(const Step& step);
  /// Asks for the update.
  void update();
  /// Waits for the norm, not for the update, and counts the step where it is applied.
  StepMeasures wait();

 private:
  struct HostBlock;
  void run_measure();
  void run_update();

  Parts parts_;
  Exec* exec_;
  std::unique_ptr<HostBlock> host_;
  Tensor weights_;  // [n] f64: of grad_squares()
  Tensor numbers_;  // AdamwNumbers
  std::shared_ptr<CudaGraph> measure_graph_, update_graph_;
  std::shared_ptr<CudaMark> is_measured_;
  bool has_run_ = false;
};

}  // namespace megalith
