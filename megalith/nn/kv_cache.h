#pragma once
// defines: KvCache

#include <vector>

#include "megalith/core/exec.h"

namespace megalith {

/// Keys and values of the tokens seen so far, layer by layer, for inference.
class KvCache {
 public:
  struct Shape {
    int64_t num_layers = 0;
    int64_t batch = 0;             ///< B
    int64_t max_length = 0;        ///< tokens per sequence
    int64_t num_query_groups = 0;  ///< K
    int64_t head_dim = 0;          ///< D
    DType dtype = DType::kF32;
  };
  KvCache(const Shape& shape, Exec& exec);

  /// Tokens that every layer holds; append() writes behind them, advance() counts them in after the last
  /// layer.
  int64_t length() const { return length_; }
  int64_t max_length() const { return shape_.max_length; }
  void advance(int64_t num_tokens) { length_ += num_tokens; }

  struct Window {
    Tensor k, v;      // [B, length, K, D]; with lengths on the device [B, max_length, K, D]
    Tensor num_keys;  // [1] i32: how many of them there are; only with lengths on the device
  };
  /// Writes k, v [B, S, K, D] of new tokens and returns all up to them. Throws Error when the cache is full.
  Window append(int64_t layer, const Tensor& k, const Tensor& v, Exec& exec);

  /// From now on append() writes at the token `length` [1] i32 and returns `num_keys` with its window, both
  /// read on the device: the calls of a step are then the same for every step, and can be captured.
  void read_lengths(Tensor length, Tensor num_keys);
  /// What read_lengths() was given, or undefined.
  const Tensor& device_length() const { return device_length_; }

  /// All that a layer has room for, [B, max_length, K, D], for a kernel that appends by itself.
  const Tensor& keys(int64_t layer) const { return keys_[static_cast<size_t>(layer)]; }
  const Tensor& values(int64_t layer) const { return values_[static_cast<size_t>(layer)]; }

 private:
  Shape shape_;
  int64_t length_ = 0;
  std::vector<Tensor> keys_;    // per layer [B, max_length, K, D]
  std::vector<Tensor> values_;  // likewise
  Tensor device_length_, device_num_keys_;
};

}  // namespace megalith
