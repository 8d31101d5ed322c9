#pragma once
// defines: Partition, RowSum, Linear

#include <string>
#include <vector>

#include "megalith/autograd/functions/collectives.h"
#include "megalith/autograd/functions/column_parallel_linear.h"
#include "megalith/autograd/functions/swiglu_linear.h"
#include "megalith/parallel/mesh.h"

namespace megalith {

/// How tensor-parallel ranks share a weight [out, in] (Shoeybi et al. 2019, section 3). A column-parallel
/// layer takes the whole x and gives each rank its share of the outputs; a row-parallel one takes each rank's
/// share of x and gives the sum to all. Under sequence parallelism the whole x is gathered from the ranks'
/// tokens, and the sum is scattered to them (Korthikanti et al. 2022).
enum class Partition { kNone, kColumn, kRow };

/// Whether a row-parallel layer sums the ranks' terms, or the next norm does (ResidualStream::terms_of).
enum class RowSum { kMade, kLeft };

/// y = x W^T (+ b), weight [out, in], bias [out].
class Linear {
 public:
  struct Options {
    std::string name;  ///< prefix of the parameters: NAME.weight, NAME.bias
    int64_t in_features = 0;
    int64_t out_features = 0;
    double init_std = 0.02;
    bool has_bias = false;
    Partition partition = Partition::kNone;
    std::vector<int64_t> blocks = {};  ///< kColumn: blocks of outputs that are shared one by one; empty: one
  };
  Linear(const Options& options, const Mesh& mesh, ParameterStore& store)
      : partition_(options.partition), mesh_(&mesh) {
    Shard shard;
    if (partition_ != Partition::kNone)
      shard = {.dim = partition_ == Partition::kColumn ? 0 : 1,
               .index = mesh.tp().rank(),
               .count = mesh.tp().size(),
               .blocks = options.blocks};
    weight_ = &store.add({.name = options.name + ".weight",
                          .shape = {options.out_features, options.in_features},
                          .init = Init::normal(options.init_std),
                          .shard = shard});
    if (!options.has_bias) return;
    bias_ = &store.add({.name = options.name + ".bias",
                        .shape = {options.out_features},
                        .init = Init::zeros(),
                        .shard = partition_ == Partition::kColumn ? shard : Shard{}});
  }

  /// Whether forward and forward_swiglu can add a residual [T, out] in the pass of their product.
  bool adds_residual() const {
    return partition_ == Partition::kRow && mesh_->tp().size() == 1 && bias_ == nullptr;
  }

  /// Rows of x and y: all T tokens, or for x of kColumn and y of kRow this rank's T / tp under sequence
  /// parallelism.
  Var forward(Tape& tape, const SharedRows& rows, RowSum sum = RowSum::kMade,
              const Var& residual = {}) const {
    const Var& x = rows.own;
    if (residual.data.defined()) {
      MG_ASSERT(adds_residual());
      return linear_sum(tape, x, *weight_, residual);
    }
    const LinearBias bias{bias_, partition_ != Partition::kRow || mesh_->tp().rank() == 0};
    switch (partition_) {
      case Partition::kColumn:
        return column_parallel_linear(tape, rows, *weight_, bias, mesh_->tensor_groups());
      case Partition::kRow:
        if (sum == RowSum::kLeft) return linear_term(tape, x, *weight_, bias, *scattered_over());
        return sum_of_terms(tape, linear(tape, x, *weight_, bias, scattered_over()));
      case Partition::kNone:
        break;
    }
    return linear(tape, x, *weight_, bias);
  }

  /// swiglu(forward(x)) of a column-parallel layer without bias, for forward_swiglu of a row-parallel one.
  SwigluRows swiglu_forward(Tape& tape, const SharedRows& x) const {
    MG_ASSERT(partition_ == Partition::kColumn && bias_ == nullptr);
    if (mesh_->tp().size() > 1) return swiglu(tape, forward(tape, x));
    return linear_swiglu(tape, x.own, *weight_);
  }
  Var forward_swiglu(Tape& tape, const SwigluRows& rows, RowSum sum = RowSum::kMade,
                     const Var& residual = {}) const {
    MG_ASSERT(partition_ == Partition::kRow && bias_ == nullptr);
    if (residual.data.defined()) {
      MG_ASSERT(adds_residual());
      return swiglu_linear_sum(tape, rows, *weight_, residual);
    }
    if (sum == RowSum::kLeft) return swiglu_linear_term(tape, rows, *weight_, *scattered_over());
    return sum_of_terms(tape, swiglu_linear(tape, rows, *weight_, scattered_over()));
  }

  bool has_bias() const { return bias_ != nullptr; }
  const Tensor& weight() const { return weight_->data; }

  /// The x of another column-parallel product: its gradient is the sum over the ranks.
  static Var whole_input(Tape& tape, const Var& x, const Mesh& mesh) {
    return mesh.is_sequence_parallel() ? all_gather_rows(tape, x, mesh.tp())
                                       : copy_to_ranks(tape, x, mesh.tp());
  }

 private:
  Communicator* scattered_over() const { return mesh_->tensor_groups().split_beside(); }
  Var sum_of_terms(Tape& tape, const Var& term) const {
    if (scattered_over() != nullptr) return term;  // it is the sum
    Communicator& tp = mesh_->tp();
    return mesh_->is_sequence_parallel() ? reduce_scatter_rows(tape, term, tp)
                                         : sum_over_ranks(tape, term, tp);
  }

  Partition partition_;
  const Mesh* mesh_;
  Parameter* weight_;
  Parameter* bias_ = nullptr;
};

}  // namespace megalith
