#pragma once
// defines: every_setting

#include <functional>

#include "megalith/kernels/cuda/vendor/cublaslt.h"

namespace megalith::cuda {

/// Calls visit(setting) for every tile, stages, shape of clusters, swizzle of blocks and custom option that
/// an algorithm names for itself, which are many times those that it takes (cublasLtMatmulAlgoCheck). k stays
/// in one piece: an element is one sum in one order, the same bits in every run. The inner shape stays the
/// library's.
void every_setting(const cublasLtMatmulAlgo_t& algorithm,
                   const std::function<void(const cublasLtMatmulAlgo_t&)>& visit);

}  // namespace megalith::cuda
