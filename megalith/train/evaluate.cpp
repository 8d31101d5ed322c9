#include "megalith/train/evaluate.h"

#include <algorithm>

#include "megalith/train/device_batch.h"

namespace megalith {

double evaluate(LanguageModel& model, BatchLoader& loader, int64_t num_batches, Exec& exec) {
  const OwnerScope scope(exec.ledger(), "activations");
  HostBatch host;
  double loss_sum = 0, num_tokens = 0;
  for (int64_t i = 0; i < num_batches && loader.next(host); ++i) {
    const DeviceBatch batch = make_device_batch(host, LossScaling::kSum, 1, exec);
    Tape tape(exec, {.is_recording = false, .recompute = {}});
    loss_sum += to_vector<double>(model.loss(tape, batch.context, batch.tokens).data)[0];
    num_tokens += batch.num_tokens;
  }
  return loss_sum / std::max(num_tokens, 1.0);
}

}  // namespace megalith
