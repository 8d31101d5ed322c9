#pragma once
// defines: MoeLayer

#include <optional>

#include "megalith/nn/mlp.h"
#include "megalith/nn/moe/experts.h"
#include "megalith/nn/moe/router.h"
#include "megalith/parallel/expert/token_dispatcher.h"

namespace megalith {

/// A mixture of experts in the place of an MLP (Shazeer et al. 2017): y = sum over the chosen e of p_e
/// expert_e(x), plus a shared expert that sees every token (DeepSeekMoE, Dai et al. 2024).
class MoeLayer {
 public:
  struct Options {
    Router::Options router;
    Experts::Options experts;
    std::optional<Mlp::Options> shared_expert;
    DispatcherKind dispatcher = DispatcherKind::kAllToAll;
    /// Each rank sends an expert at most ceil(T k / E factor) of its T tokens and drops the rest of the
    /// choices; 0: none is dropped.
    double capacity_factor = 0;
    bool pads_to_capacity = false;  ///< every expert gets exactly that many rows: sizes are fixed
    /// In training, the experts of a rank have room for that many times the rows of an even load, and what
    /// finds none is dropped (TokenDispatcher::Choice); 0: for all.
    double rank_capacity_factor = 0;
    TokenDrop drop_policy = TokenDrop::kProbs;
  };
  /// Throws UsageError where the mesh has tensor-parallel ranks that do not share the tokens between them.
  MoeLayer(const Options& options, const Mesh& mesh, ParameterStore& store);

  Router& router() { return router_; }
  const Router& router() const { return router_; }
  const Experts& experts() const { return experts_; }

  /// x [T, H] -> [T, H], of this rank's tokens (under sequence parallelism its T / tp).
  Var forward(Tape& tape, const ForwardContext& context, const Var& x) const;

 private:
  Options options_;
  Router router_;
  Experts experts_;
  std::optional<Mlp> shared_expert_;
  TokenDispatcher dispatcher_;
};

}  // namespace megalith
