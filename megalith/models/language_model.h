#pragma once
// defines: TokenBatch, FlopsPerToken, RouterView, LanguageModel

#include <string>
#include <vector>

#include "megalith/autograd/functions/router.h"
#include "megalith/autograd/parameter.h"
#include "megalith/nn/forward_context.h"

namespace megalith {

/// Tokens of one microbatch on the rank's device.
struct TokenBatch {
  Tensor ids;           // [T] i32
  Tensor labels;        // [T] i32, below 0: ignored; undefined for inference
  Tensor loss_weights;  // [T] f32 (f64 for a f64 model): what each token's loss counts
};

/// Floating point operations of one token's forward and backward pass.
struct FlopsPerToken {
  double megatron = 0;   ///< Megatron's formula (num_floating_point_operations), comparable with its logs
  double true_work = 0;  ///< matrix products of the layers that are run, causal half counted once
};

/// A router of this pipeline stage and what it keeps beside its weight.
struct RouterView {
  std::string name;  ///< "decoder.layers.3.mlp.router"; the bias is NAME.expert_bias
  RouterState* state = nullptr;
};

/// What the training loop and the generator need of a model.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  virtual ParameterStore& parameters() = 0;
  /// Weighted sum of the token losses: [1] f64.
  virtual Var loss(Tape& tape, const ForwardContext& context, const TokenBatch& batch) = 0;
  /// A pipeline stage is one or more chunks of the model; the loss is that of a model which has all of them.
  virtual int num_chunks() const = 0;
  /// Layers of a chunk: the segments (autograd/segment.h) of its forward.
  virtual int64_t num_layers(int chunk) const = 0;
  /// From the output of the chunk before, [T, H] (under sequence parallelism [T / tp, H]), which the first
  /// one does not read, to the output of this one: for the last one the loss [1].
  virtual Var forward_chunk(Tape& tape, const ForwardContext& context, const TokenBatch& batch, int chunk,
                            const Var& input) = 0;
  /// Of what a chunk hands to the next.
  virtual Shape boundary_shape(const ForwardContext& context) const = 0;
  /// [T, padded vocabulary], dtype of the model. Inference only.
  virtual Tensor logits(Tape& tape, const ForwardContext& context, const Tensor& ids) = 0;
  /// Logits of the last token of every sequence: [B, padded vocabulary].
  virtual Tensor last_logits(Tape& tape, const ForwardContext& context, const Tensor& ids) = 0;

  virtual int64_t vocab_size() const = 0;     ///< without padding
  virtual int64_t max_positions() const = 0;  ///< longest sequence; 0: no limit
  virtual KvCache make_cache(int64_t batch, int64_t max_length, Exec& exec) = 0;
  virtual FlopsPerToken flops_per_token(int64_t seq_length) const = 0;

  /// After the weights of a step are in place; collective. Routers move their biases.
  virtual void after_step(Exec&) {}
  /// By layer; empty for dense models.
  virtual std::vector<RouterView> routers() { return {}; }
};

}  // namespace megalith
