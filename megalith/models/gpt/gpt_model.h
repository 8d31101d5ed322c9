#pragma once
// defines: GptModel

#include <optional>
#include <vector>

#include "megalith/models/gpt/gpt_config.h"
#include "megalith/models/language_model.h"
#include "megalith/nn/transformer_layer.h"

namespace megalith {

/// Embedding, transformer layers, final norm, output head with cross-entropy.
class GptModel : public LanguageModel {
 public:
  /// The parameters are allocated and undefined: initialize them or load them. `dtype` overrides
  /// config.dtype().
  GptModel(const GptConfig& config, Exec& exec, std::optional<DType> dtype = {});
  GptModel(const GptModel&) = delete;  // layers point at the rotary tables
  GptModel& operator=(const GptModel&) = delete;

  ParameterStore& parameters() override { return store_; }
  Var loss(Tape& tape, const ForwardContext& context, const TokenBatch& batch) override;
  Tensor logits(Tape& tape, const ForwardContext& context, const Tensor& ids) override;
  Tensor last_logits(Tape& tape, const ForwardContext& context, const Tensor& ids) override;
  int64_t vocab_size() const override { return config_.vocab_size; }
  int64_t max_positions() const override { return config_.max_position_embeddings; }
  KvCache make_cache(int64_t batch, int64_t max_length, Exec& exec) override;
  FlopsPerToken flops_per_token(int64_t seq_length) const override;

  const GptConfig& config() const { return config_; }

 private:
  /// Final-normed hidden states [T, H].
  Var hidden(Tape& tape, const ForwardContext& context, const Tensor& ids);
  Tensor head(const Tensor& hidden, Exec& exec) const;

  GptConfig config_;
  ParameterStore store_;
  RotaryTables rotary_;
  Parameter* word_embeddings_ = nullptr;
  Parameter* position_embeddings_ = nullptr;
  std::vector<TransformerLayer> layers_;
  std::optional<Norm> final_norm_;
  Parameter* output_weight_ = nullptr;  ///< word_embeddings_ when tied
};

}  // namespace megalith
