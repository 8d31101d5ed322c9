#pragma once
// defines: llama_config, gpt2_config, moe_config, ModelRun

#include <cmath>
#include <optional>
#include <vector>

#include "megalith/autograd/offload.h"
#include "megalith/models/gpt/gpt_model.h"
#include "megalith/ops/elementwise.h"

namespace megalith::testing {

inline GptConfig llama_config() {
  GptConfig c;
  c.num_layers = 2;
  c.hidden_size = 24;
  c.num_attention_heads = 4;
  c.num_query_groups = 2;
  c.ffn_hidden_size = 20;
  c.vocab_size = 37;
  c.make_vocab_size_divisible_by = 8;
  c.max_position_embeddings = 16;
  c.position_embedding_type = "rope";
  c.normalization = "RMSNorm";
  c.swiglu = true;
  c.add_bias_linear = false;
  c.untie_embeddings_and_output_weights = true;
  c.hidden_dropout = c.attention_dropout = 0;
  c.init_method_std = 0.3;
  return c;
}

inline GptConfig gpt2_config() {
  GptConfig c;
  c.num_layers = 2;
  c.hidden_size = 24;
  c.num_attention_heads = 3;
  c.vocab_size = 37;
  c.make_vocab_size_divisible_by = 8;
  c.max_position_embeddings = 16;
  c.hidden_dropout = c.attention_dropout = 0;
  c.init_method_std = 0.3;
  return c;
}

/// Llama-style; the first layer dense, the second of four experts and a shared one.
inline GptConfig moe_config() {
  GptConfig c = llama_config();
  c.moe.num_experts = 4;
  c.moe.layer_freq = "[0, 1]";
  c.moe.ffn_hidden_size = 12;
  c.moe.shared_expert_intermediate_size = 10;
  return c;
}

/// A model with two microbatches of tokens that follow from a seed, and the loss and gradients of a step.
class ModelRun {
 public:
  static constexpr int64_t kBatch = 2, kSeq = 11, kMicrobatches = 2;

  ModelRun(const GptConfig& config, DType dtype, const ExecOptions& options = {.num_threads = 2})
      : exec_(options), model_(config, exec_, dtype), dtype_(dtype) {
    model_.parameters().initialize(exec_);
    model_.parameters().allocate_gradients(exec_);
    // Norm weights and biases away from one and zero, so that a wrong gradient of theirs shows.
    for (const auto& parameter : model_.parameters().parameters()) {
      if (parameter->decays()) continue;
      std::vector<double> values = to_vector<double>(parameter->data);
      for (size_t i = 0; i < values.size(); ++i)
        values[i] += 0.2 * std::sin(1.0 + 3.0 * static_cast<double>(i));
      copy(exec_.from_host(std::span<const double>(values), parameter->data.shape()), parameter->data, exec_);
    }
  }

  Exec& exec() { return exec_; }
  GptModel& model() { return model_; }
  ParameterStore& parameters() { return model_.parameters(); }

  bool packed_documents = false;
  bool is_training = false;
  int64_t num_offloaded = 0;  // layers whose saved tensors wait on the host

  const MemoryLedger* host_ledger() const { return copies_ != nullptr ? &copies_->ledger() : nullptr; }

  Tensor ids(int64_t microbatch, int64_t shift = 0) {
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < kBatch * kSeq; ++t) {
      ids.push_back(static_cast<int32_t>(
          RngKey{7, static_cast<uint64_t>(microbatch)}.bits(static_cast<uint64_t>(t + shift)) % 37));
    }
    return exec_.from_host(std::span<const int32_t>(ids), {kBatch * kSeq});
  }

  ForwardContext context(int64_t microbatch) {
    std::vector<int32_t> positions, first_keys;
    for (int64_t t = 0; t < kBatch * kSeq; ++t) {
      const auto place = static_cast<int32_t>(t % kSeq);
      const int32_t begin = packed_documents && place >= 4 ? 4 : 0;
      positions.push_back(place - begin);
      first_keys.push_back(begin);
    }
    ForwardContext context{.batch = kBatch,
                           .positions = exec_.from_host(std::span<const int32_t>(positions), {kBatch * kSeq}),
                           .rng = exec_.rng().fold(static_cast<uint64_t>(microbatch)),
                           .is_training = is_training};
    if (packed_documents)
      context.first_key = exec_.from_host(std::span<const int32_t>(first_keys), {kBatch, kSeq});
    return context;
  }

  TokenBatch batch(int64_t microbatch) {
    std::vector<double> weights;
    for (int64_t t = 0; t < kBatch * kSeq; ++t)
      weights.push_back(t % 5 == 3 ? 0 : 0.05 + 0.01 * static_cast<double>(t % 3));
    const Tensor host = exec_.from_host(std::span<const double>(weights), {kBatch * kSeq});
    const Tensor loss_weights =
        exec_.empty({kBatch * kSeq}, dtype_ == DType::kF64 ? DType::kF64 : DType::kF32);
    copy(host, loss_weights, exec_);
    return {.ids = ids(microbatch), .labels = ids(microbatch, 1), .loss_weights = loss_weights};
  }

  double loss_value() {
    double sum = 0;
    for (int64_t microbatch = 0; microbatch < kMicrobatches; ++microbatch) {
      Tape tape(exec_, {.is_recording = false, .recompute = {}});
      sum += to_vector<double>(model_.loss(tape, context(microbatch), batch(microbatch)).data)[0];
    }
    return sum;
  }

  /// Loss of the step; gradients are in the store. With `deferred`, weight gradients wait until both
  /// backwards are done.
  double step(const RecomputePolicy& recompute = {}, WgradQueue* deferred = nullptr) {
    parameters().mark_gradients_fresh();
    double sum = 0;
    for (int64_t microbatch = 0; microbatch < kMicrobatches; ++microbatch) {
      Tape tape(exec_, {.recompute = recompute, .offload = offload()});
      const Var loss = model_.loss(tape, context(microbatch), batch(microbatch));
      sum += to_vector<double>(loss.data)[0];
      const Tensor one = exec_.empty({1}, loss.data.dtype());
      fill(one, 1, exec_);
      tape.backward(loss, one, deferred);
    }
    if (deferred != nullptr) deferred->drain(exec_);
    parameters().finish_gradients(exec_);
    return sum;
  }

 private:
  std::shared_ptr<SegmentOffload> offload() {
    if (num_offloaded == 0) return nullptr;
    if (copies_ == nullptr) copies_ = std::make_unique<HostCopies>(exec_);
    return std::make_shared<SegmentOffload>(
        *copies_, OffloadOptions{.num_segments = num_offloaded, .min_bytes = 1}, model_.num_layers(0), exec_);
  }

  Exec exec_;
  GptModel model_;
  DType dtype_;
  std::unique_ptr<HostCopies> copies_;
};

}  // namespace megalith::testing
