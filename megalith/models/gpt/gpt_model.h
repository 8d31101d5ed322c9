#pragma once
// defines: GptChunk, GptModel

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "megalith/models/gpt/gpt_config.h"
#include "megalith/models/language_model.h"
#include "megalith/nn/transformer_layer.h"

namespace megalith {

/// Neighbouring layers that a pipeline stage runs in one go.
struct GptChunk {
  int64_t first_layer = 0, num_layers = 0;
  bool has_embedding = false;  ///< begins with it
  bool has_head = false;       ///< ends with final norm, output head and loss
};

/// Embedding, transformer layers, final norm, output head with cross-entropy; of one rank of a mesh.
class GptModel : public LanguageModel {
 public:
  struct Layout {
    const Mesh* mesh = nullptr;         ///< null: one rank; must outlive the model
    std::vector<GptChunk> chunks = {};  ///< of this pipeline stage; empty: the whole model
    FlatSharing sharing = {};           ///< how data-parallel ranks share the flat buffers
  };
  /// The parameters are allocated and undefined: initialize them or load them. `dtype` overrides
  /// config.dtype().
  GptModel(const GptConfig& config, Exec& exec, std::optional<DType> dtype = {})
      : GptModel(config, Layout{}, exec, dtype) {}
  GptModel(const GptConfig& config, const Layout& layout, Exec& exec, std::optional<DType> dtype = {});
  GptModel(const GptModel&) = delete;  // layers point at the rotary tables
  GptModel& operator=(const GptModel&) = delete;

  ParameterStore& parameters() override { return store_; }
  Var loss(Tape& tape, const ForwardContext& context, const TokenBatch& batch) override;
  int num_chunks() const override { return static_cast<int>(chunks_.size()); }
  int64_t num_layers(int chunk) const override { return chunks_[static_cast<size_t>(chunk)].spec.num_layers; }
  Var forward_chunk(Tape& tape, const ForwardContext& context, const TokenBatch& batch, int chunk,
                    const Var& input) override;
  Shape boundary_shape(const ForwardContext& context) const override;
  Tensor logits(Tape& tape, const ForwardContext& context, const Tensor& ids) override;
  Tensor last_logits(Tape& tape, const ForwardContext& context, const Tensor& ids) override;
  int64_t vocab_size() const override { return config_.vocab_size; }
  int64_t max_positions() const override { return config_.max_position_embeddings; }
  KvCache make_cache(int64_t batch, int64_t max_length, Exec& exec) override;
  FlopsPerToken flops_per_token(int64_t seq_length) const override;
  void after_step(Exec& exec) override;
  std::vector<RouterView> routers() override;

  const GptConfig& config() const { return config_; }
  const Mesh& mesh() const { return *mesh_; }

 private:
  struct Chunk {
    GptChunk spec;
    std::vector<TransformerLayer> layers;
    std::vector<const UnitUse*> uses;  ///< of the layers
  };

  void for_each_router(const std::function<void(Router&)>& visit);
  Var embed(Tape& tape, const ForwardContext& context, const Tensor& ids) const;
  ResidualStream run_layers(Tape& tape, const ForwardContext& context, const Chunk& chunk,
                            ResidualStream stream) const;
  Var token_loss(Tape& tape, const TokenBatch& batch, const Var& x) const;
  /// Final-normed hidden states [T, H]. Inference only.
  Var hidden(Tape& tape, const ForwardContext& context, const Tensor& ids);
  Tensor head(const Tensor& hidden, Exec& exec) const;
  /// All layers for one more token of one sequence, but for its logits; nothing where that is not what is
  /// asked for, or a layer is of a kind that has no place in it.
  std::optional<DecodeStack> decode_stack_for(const ForwardContext& context, const Tensor& ids) const;

  GptConfig config_;
  std::unique_ptr<Mesh> own_mesh_;
  const Mesh* mesh_;
  ParameterStore store_;
  RotaryTables rotary_;
  Parameter* word_embeddings_ = nullptr;
  Parameter* position_embeddings_ = nullptr;
  std::vector<Chunk> chunks_;
  std::optional<Norm> final_norm_;
  const UnitUse* embedding_use_ = nullptr;
  const UnitUse* head_use_ = nullptr;
  Parameter* output_weight_ = nullptr;  ///< word_embeddings_ when tied; null on a stage without the head
};

}  // namespace megalith
