#pragma once
// defines: Init, ParameterSpec, Parameter, ParameterStore

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

struct ParameterSpec {
  std::string name;  ///< Megatron's, for example "decoder.layers.0.mlp.linear_fc1.weight"
  Shape shape;
  Init init;
};

/// A weight and its gradient, both windows on the flat buffers of a ParameterStore.
struct Parameter {
  ParameterSpec spec;
  Tensor data;                // spec.shape, the model's dtype
  Tensor main_grad;           // spec.shape, f32 (f64 for f64); undefined until allocate_gradients()
  int64_t flat_begin = 0;     ///< first element in the flat buffers
  bool grad_is_fresh = true;  ///< main_grad holds nothing yet: the next gradient is written, not added

  const std::string& name() const { return spec.name; }
  int64_t numel() const { return spec.shape.numel(); }
  /// Megatron's rule: biases and other one-dimensional parameters do not decay.
  bool decays() const { return spec.shape.rank() > 1; }

  /// For gradient kernels: 0 for the first write after a step, 1 afterwards. Marks the gradient as written.
  double begin_grad_write() {
    const double beta = grad_is_fresh ? 0 : 1;
    grad_is_fresh = false;
    return beta;
  }
};

/// All parameters of a model. Modules add theirs while they are built; materialize() then lays them out in
/// one flat buffer in order of registration, each start padded to 64 elements, so that optimizer, clipping
/// and collectives are a few large calls.
class ParameterStore {
 public:
  /// The reference stays valid for the store's life. A name may be used once.
  Parameter& add(ParameterSpec spec);

  /// Allocates the weights; they are undefined until initialize() or a checkpoint fills them.
  void materialize(Exec& exec, DType dtype);
  /// Fills every parameter by its Init. The numbers depend on the seed, the parameter's name and the
  /// element's index alone.
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

  int64_t num_elements() const;  ///< without padding
  int64_t num_flat_elements() const { return num_flat_; }
  DType dtype() const { return dtype_; }
  const Tensor& flat_data() const { return flat_data_; }  // [num_flat_elements]
  const Tensor& flat_grad() const { return flat_grad_; }  // [num_flat_elements]

 private:
  std::vector<std::unique_ptr<Parameter>> parameters_;
  DType dtype_ = DType::kF32;
  int64_t num_flat_ = 0;
  Tensor flat_data_;
  Tensor flat_grad_;
};

}  // namespace megalith
