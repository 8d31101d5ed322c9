#pragma once
// defines: cuda::sum_major_map, cuda::result_major_map

#include "megalith/kernels/cuda/tensor_map.h"

namespace megalith::cuda {

/// An operand [rows, terms] whose rows run along the index of the sum, as RowsAlong::kSum of
/// product_tiles.cuh takes it. `tensors` of them lie one behind the other, rows * stride apart.
inline CUtensorMap sum_major_map(const void* data, int64_t rows, int64_t terms, int64_t stride, Exec& exec,
                                 int64_t tensors = 1) {
  return make_tensor_map({.data = data,
                          .extents = {terms, rows, tensors},
                          .strides = {stride, rows * stride},
                          .box = {64, 64, 1}},
                         exec);
}

/// An operand [terms, cols] whose rows run along the index of the result, RowsAlong::kResult.
inline CUtensorMap result_major_map(const void* data, int64_t terms, int64_t cols, int64_t stride,
                                    Exec& exec) {
  return make_tensor_map(
      {.data = data, .extents = {cols, terms, 1}, .strides = {stride, terms * stride}, .box = {64, 64, 1}},
      exec);
}

}  // namespace megalith::cuda
