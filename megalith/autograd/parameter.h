#pragma once
// defines: Init, Shard, ParameterSpec, Parameter, FlatRange, ParameterStore

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

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

/// A weight and its gradient, both windows on the flat buffers of a ParameterStore.
struct Parameter {
  ParameterSpec spec;
  Tensor data;                // local shape, the model's dtype
  Tensor main_grad;           // local shape, f32 (f64 for f64); undefined until allocate_gradients()
  int64_t flat_begin = 0;     ///< first element in the flat buffers
  bool grad_is_fresh = true;  ///< main_grad holds nothing yet: the next gradient is written, not added

  const std::string& name() const { return spec.name; }
  int64_t numel() const { return data.numel(); }  ///< of this rank's part
  /// Megatron's rule: biases and other one-dimensional parameters do not decay.
  bool decays() const { return spec.shape.rank() > 1; }

  /// For gradient kernels: 0 for the first write after a step, 1 afterwards. Marks the gradient as written.
  double begin_grad_write() {
    const double beta = grad_is_fresh ? 0 : 1;
    grad_is_fresh = false;
    return beta;
  }
};

/// [begin, end) of the flat buffers.
struct FlatRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

/// All parameters of a rank's model. Modules add theirs while they are built; materialize() then lays them
/// out in one flat buffer in order of registration, each start padded to 64 elements, so that optimizer,
/// clipping and collectives are a few large calls. Expert parameters, whose gradients are summed over other
/// ranks than the rest, stand behind all others.
class ParameterStore {
 public:
  /// The reference stays valid for the store's life. A name may be used once.
  Parameter& add(ParameterSpec spec);

  /// Into how many parts of a multiple of 64 elements each range of the flat buffers can be cut.
  struct Divisors {
    int64_t dense = 1, expert = 1;
  };
  /// Allocates the weights; they are undefined until initialize() or a checkpoint fills them.
  void materialize(Exec& exec, DType dtype, const Divisors& divisors);
  void materialize(Exec& exec, DType dtype) { materialize(exec, dtype, Divisors{}); }
  /// Fills every parameter by its Init. The numbers depend on the seed, the parameter's name and the
  /// element's index in the whole parameter alone: shards equal the slices of the whole.
  void initialize(Exec& exec);
  /// Allocates the main gradients; fresh.
  void allocate_gradients(Exec& exec);

  /// Before a step's first backward.
  void mark_gradients_fresh();
  /// After a step's last backward: parameters that no gradient reached get zeros.
  void finish_gradients(Exec& exec);

  std::span<const std::unique_ptr<Parameter>> parameters() const { return parameters_; }
  /// Throws Error naming the parameter and the nearest name there is.
  Parameter& find(const std::string& name) const;

  int64_t num_elements() const;  ///< of this rank, without padding
  FlatRange dense_range() const { return {0, expert_begin_}; }
  FlatRange expert_range() const { return {expert_begin_, num_flat_}; }
  int64_t num_flat_elements() const { return num_flat_; }
  DType dtype() const { return dtype_; }
  const Tensor& flat_data() const { return flat_data_; }  // [num_flat_elements]
  const Tensor& flat_grad() const { return flat_grad_; }  // [num_flat_elements]

 private:
  std::vector<std::unique_ptr<Parameter>> parameters_;
  DType dtype_ = DType::kF32;
  int64_t expert_begin_ = 0;
  int64_t num_flat_ = 0;
  Tensor flat_data_;
  Tensor flat_grad_;
};

}  // namespace megalith
