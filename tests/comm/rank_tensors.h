#pragma once
// defines: value_of, as_bits, RankTensors

#include <cstdint>
#include <vector>

#include "megalith/core/exec.h"

namespace megalith {

/// The element that rank `rank` puts at `index`: small integers of both signs, exact in every dtype.
inline int64_t value_of(int rank, int64_t index, int64_t salt = 0) {
  return (index * 7 + rank * 13 + salt * 5) % 23 - 11;
}

template <class T>
T from_int(int64_t value) {
  if constexpr (std::is_constructible_v<T, int64_t> && std::is_arithmetic_v<T>)
    return static_cast<T>(value);
  else
    return T(static_cast<float>(value));
}

/// The tensors of one rank, made in its thread.
class RankTensors {
 public:
  template <class T>
  Tensor make(const std::vector<T>& values) {
    return exec_.from_host<T>(values, {static_cast<int64_t>(values.size())});
  }
  /// `count` elements of value_of(rank, first + i).
  template <class T>
  Tensor values(int rank, int64_t count, int64_t first = 0, int64_t salt = 0) {
    std::vector<T> data(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) data[i] = from_int<T>(value_of(rank, first + i, salt));
    return make(data);
  }
  template <class T>
  Tensor filled(int64_t count, int64_t value) {
    return make(std::vector<T>(static_cast<size_t>(count), from_int<T>(value)));
  }
  Exec& exec() { return exec_; }

 private:
  Exec exec_{ExecOptions{.num_threads = 1}};
};

template <class T>
std::vector<T> host(const Tensor& tensor) {
  return std::vector<T>(tensor.data<T>(), tensor.data<T>() + tensor.numel());
}

}  // namespace megalith
