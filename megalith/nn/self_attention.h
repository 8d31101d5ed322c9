#pragma once
// defines: SelfAttention

#include <optional>
#include <string>

#include "megalith/autograd/functions/norm.h"
#include "megalith/nn/forward_context.h"
#include "megalith/nn/linear.h"
#include "megalith/nn/rotary.h"
#include "megalith/parallel/context/context_attention.h"

namespace megalith {

/// Causal multi-head or grouped-query attention: linear_qkv [(N + 2K) D, H] with rows [Q | K | V], norms of
/// each head of Q and K (q_layernorm, k_layernorm [D]) where they are asked for, rotary embedding on Q and K,
/// softmax attention, with a learned sink core_attention.softmax_offset [N], linear_proj [H, N D].
/// Tensor-parallel ranks share the heads.
class SelfAttention {
 public:
  struct Options {
    std::string name;  ///< "decoder.layers.3.self_attention"
    int64_t layer = 0;
    int64_t hidden_size = 0;       ///< H
    int64_t num_heads = 0;         ///< N
    int64_t num_query_groups = 0;  ///< K
    int64_t head_dim = 0;          ///< D
    bool has_qkv_bias = false;
    bool has_proj_bias = false;
    double qkv_init_std = 0.02;
    double proj_init_std = 0.02;
    double dropout = 0;
    SoftmaxType softmax = SoftmaxType::kVanilla;
    double sink_init_std = 0.02;  ///< of kLearnable
    int64_t window = -1;          ///< keys before a token that it sees; -1: all
    std::optional<NormKind> qk_norm = {};
    double norm_eps = 1e-5;
    const RotaryTables* rotary = nullptr;  ///< null: no rotary embedding; must outlive the module
  };
  SelfAttention(const Options& options, const Mesh& mesh, ParameterStore& store);

  /// x [T, H] -> [T, H]; under sequence parallelism [T / tp, H]. On top of a residual where one is given
  /// (Linear::adds_residual of linear_proj).
  Var forward(Tape& tape, const ForwardContext& context, const SharedRows& x, RowSum sum = RowSum::kMade,
              const Var& residual = {}) const;

  const Options& options() const { return options_; }
  const Linear& qkv() const { return qkv_; }
  const Linear& proj() const { return proj_; }

 private:
  ContextPeers context_peers(const ForwardContext& context) const;
  Var attend(Tape& tape, const ForwardContext& context, const Var& qkv) const;
  Var attend_with_cache(Tape& tape, const ForwardContext& context, const Var& qkv) const;

  Options options_;
  const Mesh* mesh_;
  int64_t num_heads_, num_groups_;  // of this rank
  Linear qkv_;
  Linear proj_;
  NormWeights q_norm_, k_norm_;  // of options_.qk_norm
  AttentionSink sink_;
};

}  // namespace megalith
