#include "megalith/train/evaluate.h"

#include <algorithm>
#include <array>

#include "megalith/core/memory/activation_arena.h"
#include "megalith/parallel/pipeline/make_schedule.h"
#include "megalith/parallel/stage_layout.h"
#include "megalith/train/device_batch.h"

namespace megalith {
namespace {

// The loss on the rank with the last stage, 0 elsewhere. One batch goes through the pipeline at a time.
double forward_loss(LanguageModel& model, const Mesh& mesh, const Schedule& stages, const DeviceBatch& batch,
                    Exec& exec) {
  Tape tape(exec, {.is_recording = false, .recompute = {}});
  const int rank = mesh.pp().rank();
  Var x;
  for (int stage = 0; stage < stages.num_stages(); ++stage) {
    if (stages.rank_of(stage) != rank) continue;
    if (stage > 0 && stages.rank_of(stage - 1) != rank) {
      x.data = exec.empty(model.boundary_shape(batch.context), model.parameters().dtype());
      mesh.pp().recv(x.data, stages.rank_of(stage - 1), "evaluation");
    }
    x = model.forward_chunk(tape, batch.context, batch.tokens, stages.chunk_of(stage), x);
    if (stage + 1 == stages.num_stages()) return to_vector<double>(x.data)[0];
    if (stages.rank_of(stage + 1) != rank) mesh.pp().send(x.data, stages.rank_of(stage + 1), "evaluation");
  }
  return 0;
}

}  // namespace

std::optional<double> evaluate(LanguageModel& model, const Mesh& mesh, BatchLoader& loader,
                               int64_t num_batches, const std::function<bool()>& stops, Exec& exec) {
  constexpr int64_t kBatchesBetweenQuestions = 4;
  const OwnerScope scope(exec.ledger(), "activations");
  const Schedule stages = make_schedule(schedule_options(mesh.config(), mesh.shape().pp));
  HostBatch host;
  double loss_sum = 0, num_tokens = 0;
  for (int64_t i = 0; i < num_batches && loader.next(host); ++i) {
    if (i % kBatchesBetweenQuestions == 0 && stops()) return std::nullopt;
    const ArenaScope arena(exec.pool(), "activations", "evaluation");
    const DeviceBatch batch = make_device_batch(host, LossScaling::kSum, 1, context_share(mesh), exec);
    loss_sum += forward_loss(model, mesh, stages, batch, exec);
    num_tokens += batch.num_tokens;
  }
  if (mesh.world().size() > 1) {
    // Tensor-parallel ranks have the same loss and all ranks of a pipeline the same tokens: one of each
    // counts.
    const bool counts_loss = mesh.tp().rank() == 0;
    const bool counts_tokens = counts_loss && mesh.is_first_stage() && mesh.cp().rank() == 0;
    const std::array<double, 2> own = {counts_loss ? loss_sum : 0, counts_tokens ? num_tokens : 0};
    const Tensor sums = exec.from_host(std::span<const double>(own), {2});
    mesh.world().all_reduce(sums, ReduceOp::kSum, "evaluation");
    const std::vector<double> totals = to_vector<double>(sums);
    loss_sum = totals[0];
    num_tokens = totals[1];
  }
  return loss_sum / std::max(num_tokens, 1.0);
}

}  // namespace megalith
