#pragma once
// defines: CudaGraph

#include <functional>

#include "megalith/core/cuda/cuda_context.h"

struct CUgraphExec_st;

namespace megalith {

/// What `work` asks of the stream, recorded instead of run, to be run any number of times with one call. The
/// same memory is read and written each time, so what lies there must stay; `work` must not wait for the
/// device, nor make it allocate: run it once before, so that pools and plans have what they need.
class CudaGraph {
 public:
  CudaGraph(CudaContext& context, const std::function<void()>& work);
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  /// On the stream of the context.
  void launch();
  size_t num_nodes() const { return num_nodes_; }

 private:
  CudaContext& context_;
  CUgraphExec_st* graph_ = nullptr;
  size_t num_nodes_ = 0;
};

}  // namespace megalith
