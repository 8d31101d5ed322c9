#pragma once
// defines: DecodeStep

#include <memory>
#include <span>
#include <vector>

#include "megalith/models/language_model.h"

namespace megalith {

class CudaGraph;

/// The forward of one more token for every sequence of a cache that holds the prompts. Its calls are the same
/// for every token: what changes lies in a few numbers on the device. On a GPU they are captured once and
/// replayed, on a stream and in memory of their own. Mixtures of experts, whose calls depend on the routing,
/// are not captured.
class DecodeStep {
 public:
  /// Sequence b begins with padding[b] tokens that nobody sees. All must outlive the step.
  DecodeStep(LanguageModel& model, KvCache& cache, std::vector<int32_t> padding, Exec& exec);
  ~DecodeStep();

  /// Appends token ids [B] and returns the logits of the next, [B, padded vocabulary], valid until the next
  /// call.
  const Tensor& run(std::span<const int32_t> ids);
  /// The tokens of the largest logits of the last call, [B], found on the device.
  std::vector<int32_t> largest() { return to_vector<int32_t>(largest_); }
  /// The last call once more, without waiting for it: to time the device.
  void run_again();
  /// Waits for what run_again() asked for.
  void synchronize() { exec().synchronize(); }

 private:
  Exec& exec() { return own_exec_ ? *own_exec_ : exec_; }
  void upload(std::span<const int32_t> ids);
  void forward();

  LanguageModel& model_;
  KvCache& cache_;
  std::vector<int32_t> padding_;
  Exec& exec_;
  std::unique_ptr<Exec> own_exec_;  // of a captured step
  Tensor state_;                    // i32: ids [B], positions [B], first keys [B], length, number of keys
  Tensor logits_, largest_;
  bool is_warm_ = false;              // pools and plans have what a capture needs
  std::shared_ptr<CudaGraph> graph_;  // after the first call, which makes what a capture needs
};

}  // namespace megalith
