#pragma once
// defines: ForwardContext

#include "megalith/autograd/tape.h"
#include "megalith/nn/kv_cache.h"
#include "megalith/ops/attention.h"
#include "megalith/parallel/context/packed_context.h"

namespace megalith {

/// What the layers of one forward pass share beside the activations.
struct ForwardContext {
  int64_t batch = 1;  ///< B sequences of S tokens each: T = B * S rows
  Tensor positions;   // [T] i32: position of each token in its document
  Tensor first_key;   // [B, S] i32, or undefined: first token of the sequence that a query may see
  PackedDocuments documents = {};  ///< where packed rows make it so
  /// Whose the tokens are where context-parallel ranks share rows of several documents; else null.
  std::shared_ptr<const PackedContext> packed = {};
  RngKey rng;                ///< of this microbatch: dropout draws from streams under it
  KvCache* cache = nullptr;  ///< inference: the tokens before these ones
  bool is_training = false;  ///< dropout happens only then
  double aux_loss_scale =
      1;  ///< what auxiliary losses of this microbatch count: 1 / microbatches of the step
};

}  // namespace megalith
