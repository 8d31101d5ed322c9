#pragma once
// defines: cuda::TokenRows, cuda::AppendKeysProblem, cuda::append_keys

#include <cstdint>

#include "megalith/core/dtype.h"

namespace megalith {
class Exec;
}

namespace megalith::cuda {

/// [batch, token, head, head_dim] with contiguous rows of head_dim; strides in elements.
struct TokenRows {
  void* data = nullptr;
  int64_t batch_stride = 0, token_stride = 0, head_stride = 0;
};

/// See ops/append_keys.h.
struct AppendKeysProblem {
  DType dtype = DType::kF32;
  int64_t batch = 0, tokens = 0, heads = 0, head_dim = 0;
  int64_t length = 0;  // tokens that keys and values have room for
  TokenRows k, v, keys, values;
  const int32_t* place = nullptr;
};
void append_keys(const AppendKeysProblem& problem, Exec& exec);

}  // namespace megalith::cuda
