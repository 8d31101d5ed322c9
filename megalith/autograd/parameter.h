#pragma once
// defines: Init, Shard, ParameterSpec, Parameter, FlatSharing, ParameterStore

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "megalith/autograd/parameter_unit.h"
#include "megalith/core/exec.h"

namespace megalith {

/// How a parameter is filled before training.
struct Init {
  enum class Kind { kNormal, kOnes, kZeros };
  Kind kind = Kind::kZeros;
  double std = 0;  ///< kNormal: N(0, std^2)

  static Init normal(double std) { return {Kind::kNormal, std}; }
  static Init ones() { return {Kind::kOnes, 0}; }
  static Init zeros() { return {Kind::kZeros, 0}; }
};

/// The part of a parameter that a rank holds: along `dim`, part `index` of `count` equal ones. The dimension
/// may consist of blocks that are cut one by one ([Q | K | V] or [gate | linear] rows); their parts then lie
/// behind each other.
struct Shard {
  int dim = 0;
  int index = 0, count = 1;
  std::vector<int64_t> blocks;  ///< sizes that add up to the dimension; empty: one block

  bool is_whole() const { return count == 1; }
};

struct ParameterSpec {
  std::string name;  ///< Megatron's, for example "decoder.layers.0.mlp.linear_fc1.weight"
  Shape shape;       ///< of the whole parameter
  Init init;
  Shard shard = {};
  bool is_expert = false;  ///< laid out over the expert axes of the mesh: gradients are summed over edp
  /// Every tensor-parallel rank holds the parameter whole and computes a term of its gradient (its own
  /// tokens, under sequence parallelism).
  bool gradient_is_partial = false;
  /// The first and the last pipeline stage both hold it (tied embeddings).
  bool is_shared_by_stages = false;

  /// Of the rank's part. Throws Error naming the parameter where a block does not divide.
  Shape local_shape() const;
  /// The part as stretches of elements that lie side by side in the whole and in the part alike, by ascending
  /// place in the part: run(first element in the whole, first element in the part, length).
  void visit_runs(const std::function<void(int64_t, int64_t, int64_t)>& run) const;
};

/// A weight and its gradient, both windows on flat buffers: those of the ParameterStore, or where ranks share
/// them and bring them together for a use, those of the unit; then undefined in between.
struct Parameter {
  ParameterSpec spec;
  Tensor data;                // local shape, the model's dtype
  Tensor main_grad;           // local shape, the store's gradient_dtype()
  int64_t local_numel = 0;    ///< of this rank's part
  int64_t flat_begin = 0;     ///< first element in the flat buffers
  bool grad_is_fresh = true;  ///< main_grad holds nothing yet: the next gradient is written, not added

  const std::string& name() const { return spec.name; }
  int64_t numel() const { return local_numel; }
  FlatRange flat_range() const { return {flat_begin, flat_begin + local_numel}; }
  /// Megatron's rule: biases and other one-dimensional parameters do not decay.
  bool decays() const { return spec.shape.rank() > 1; }

  /// For gradient kernels: 0 for the first write after a step, 1 afterwards. Marks the gradient as written.
  double begin_grad_write() {
    const double beta = grad_is_fresh ? 0 : 1;
    grad_is_fresh = false;
    return beta;
  }
};

/// Ranks that hold the same parameters may share the work on them, and their memory: each unit's dense and
/// expert stretch is cut into equal shares.
struct FlatSharing {
  struct Cut {
    int index = 0, count = 1;
  };
  Cut dense, expert;
  bool shards_weights = false;    ///< a rank holds the weights of its share only
  bool shards_gradients = false;  ///< and the gradients

  const Cut& of(bool is_expert) const { return is_expert ? expert : dense; }
  bool is_shared() const { return dense.count > 1 || expert.count > 1; }
};

/// All parameters of a rank's model. Modules add theirs while they are built; materialize() then lays them
/// out in one flat space, unit behind unit in the order of registration, each start padded to 64 elements, so
/// that optimizer, clipping and collectives are a few large calls. Expert parameters, whose gradients are
/// summed over other ranks than the rest, stand behind all others.
class ParameterStore {
 public:
  ParameterStore() = default;
  ParameterStore(const ParameterStore&) = delete;  // units point into it
  ParameterStore& operator=(const ParameterStore&) = delete;

  /// Parameters that are added from here on belong to this unit. References stay valid for the store's life.
  ParameterUnit& begin_unit(const std::string& name);
  /// Declares a place at which units are used, in the order of the forward. `index` is set here.
  const UnitUse& add_use(UnitUse use);
  /// A name may be used once.
  Parameter& add(ParameterSpec spec);

  /// Allocates the weights; they are undefined until initialize() or a checkpoint fills them.
  void materialize(Exec& exec, DType dtype, const FlatSharing& sharing = {});
  /// Fills every parameter by its Init. The numbers depend on the seed, the parameter's name and the
  /// element's index in the whole parameter alone: shards equal the slices of the whole.
  void initialize(Exec& exec);
  /// Allocates the main gradients; fresh. In f32 (f64 for f64), or those of bf16 parameters in bf16.
  void allocate_gradients(Exec& exec);
  void allocate_gradients(Exec& exec, DType dtype);

  /// Before a step's first backward.
  void mark_gradients_fresh();
  /// Gives parameters that no gradient reached zeros.
  void finish_gradients(const ParameterUnit& unit, Exec& exec);
  void finish_gradients(Exec& exec);

  std::span<const std::unique_ptr<Parameter>> parameters() const { return parameters_; }
  std::span<const std::unique_ptr<ParameterUnit>> units() const { return units_; }
  std::span<const std::unique_ptr<UnitUse>> uses() const { return uses_; }
  /// Throws Error naming the parameter and the nearest name there is.
  Parameter& find(const std::string& name) const;

  /// Called around uses of units; null for none. Must outlive every tape it was recorded on.
  void set_hooks(UnitHooks* hooks) { hooks_ = hooks; }
  UnitHooks* hooks() const { return hooks_; }

  int64_t num_elements() const;  ///< of this rank's part of the model, without padding
  FlatRange dense_range() const { return {0, expert_begin_}; }
  FlatRange expert_range() const { return {expert_begin_, num_flat_}; }
  int64_t num_flat_elements() const { return num_flat_; }
  DType dtype() const { return dtype_; }
  DType gradient_dtype() const { return gradient_dtype_; }
  const FlatSharing& sharing() const { return sharing_; }

  /// What this rank holds of weights and gradients, flat: everything, or of each unit its share.
  const Tensor& flat_data() const { return flat_data_; }
  const Tensor& flat_grad() const { return flat_grad_; }

  /// A stretch of the flat space whose optimizer state this rank keeps.
  struct Owned {
    FlatRange range;
    bool is_expert = false;
    Tensor data;  // [range.size()] the model's dtype
    Tensor grad;  // [range.size()] gradient_dtype(); undefined before allocate_gradients()
  };
  /// Everything in one stretch, or where ranks share, one of each unit and kind; in order.
  const std::vector<Owned>& owned() const { return owned_; }
  /// What this rank keeps of one unit and kind: `held` is the whole stretch or, where it is sharded, the
  /// share; `share` is the share in both cases.
  Tensor held_data(const ParameterUnit& unit, bool is_expert) const;
  Tensor share_of_data(const ParameterUnit& unit, bool is_expert) const;
  Tensor held_grad(const ParameterUnit& unit, bool is_expert) const;
  Tensor share_of_grad(const ParameterUnit& unit, bool is_expert) const;
  FlatRange share_of(const ParameterUnit& unit, bool is_expert) const;

  /// A stretch of one parameter's weights, flat, that begins at element `begin` of this rank's part.
  using VisitPiece = std::function<void(Parameter& parameter, int64_t begin, const Tensor& data)>;
  void visit_held(const VisitPiece& visit) const;
  void visit_owned(const VisitPiece& visit) const;
  /// The same of the gradients.
  void visit_owned_gradients(const VisitPiece& visit) const;

  /// Makes the windows of a unit's parameters of one kind look into `flat`, its whole stretch; an undefined
  /// tensor closes them.
  void bind_data(const ParameterUnit& unit, bool is_expert, const Tensor& flat);
  void bind_grad(const ParameterUnit& unit, bool is_expert, const Tensor& flat);

 private:
  enum class Holds { kAll, kShares };
  Holds weights() const { return sharing_.shards_weights ? Holds::kShares : Holds::kAll; }
  DType sum_dtype() const { return dtype_ == DType::kF64 ? DType::kF64 : DType::kF32; }
  Holds gradients() const { return sharing_.shards_gradients ? Holds::kShares : Holds::kAll; }
  int64_t num_held(Holds holds) const;
  Tensor stretch(const Tensor& flat, Holds holds, const ParameterUnit& unit, bool is_expert) const;
  Tensor share(const Tensor& flat, Holds holds, const ParameterUnit& unit, bool is_expert) const;
  void visit_pieces(Tensor Owned::*tensor, const VisitPiece& visit) const;

  std::vector<std::unique_ptr<Parameter>> parameters_;
  std::vector<std::unique_ptr<ParameterUnit>> units_;
  std::vector<std::unique_ptr<UnitUse>> uses_;
  UnitHooks* hooks_ = nullptr;
  DType dtype_ = DType::kF32, gradient_dtype_ = DType::kF32;
  FlatSharing sharing_;
  int64_t expert_begin_ = 0;
  int64_t num_flat_ = 0;
  Tensor flat_data_;
  Tensor flat_grad_;
  std::vector<Owned> owned_;
};

}  // namespace megalith
