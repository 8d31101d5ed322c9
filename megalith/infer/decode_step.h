#pragma once
// defines: tokens_on_host, DecodeStep

#include <memory>
#include <span>
#include <vector>

#include "megalith/kernels/sampling.h"
#include "megalith/models/language_model.h"

namespace megalith {

class CudaGraph;

/// What sample_tokens() left in `tokens`. Waits for it; throws Error where logits were not finite.
std::vector<int32_t> tokens_on_host(const Tensor& tokens);

/// The forward of one more token for every sequence of a cache that holds the prompts. Its calls are the same
/// for every token: what changes lies in a few numbers on the device. On a GPU they are captured once and
/// replayed, on a stream and in memory of their own. Mixtures of experts, whose calls depend on the routing,
/// are not captured.
class DecodeStep {
 public:
  /// Sequence b begins with padding[b] tokens that nobody sees. All must outlive the step.
  DecodeStep(LanguageModel& model, KvCache& cache, std::vector<int32_t> padding, Exec& exec,
             const SamplingOptions& sampling = {.temperature = 0});
  ~DecodeStep();

  /// Appends token ids [B] and returns the logits of the next, [B, padded vocabulary], valid until the next
  /// call. `words` [B] are random, and not needed where sampling is greedy.
  const Tensor& run(std::span<const int32_t> ids, std::span<const uint32_t> words = {});
  /// The tokens drawn from the logits of the last call, [B], on the device. Throws Error where logits were
  /// not finite.
  std::vector<int32_t> tokens() { return tokens_on_host(next_); }
  /// The last call once more, without waiting for it: to time the device.
  void run_again();
  /// Waits for what run_again() asked for.
  void synchronize() { exec().synchronize(); }

 private:
  Exec& exec() { return own_exec_ ? *own_exec_ : exec_; }
  void upload(std::span<const int32_t> ids, std::span<const uint32_t> words);
  void forward();

  LanguageModel& model_;
  KvCache& cache_;
  std::vector<int32_t> padding_;
  Exec& exec_;
  std::unique_ptr<Exec> own_exec_;  // of a captured step
  SamplingOptions sampling_;
  Tensor state_;  // i32: ids [B], positions [B], first keys [B], random words [B], length, number of keys
  Tensor logits_, next_;
  bool is_warm_ = false;              // pools and plans have what a capture needs
  std::shared_ptr<CudaGraph> graph_;  // after the first call, which makes what a capture needs
};

}  // namespace megalith
