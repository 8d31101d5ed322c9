#include "megalith/core/cuda/cuda_graph.h"

#include "megalith/core/cuda/check.h"

namespace megalith {

CudaGraph::CudaGraph(CudaContext& context, const std::function<void()>& work) : context_(context) {
  MG_CUDA_CHECK(cudaStreamBeginCapture(context.stream(), cudaStreamCaptureModeThreadLocal));
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    cudaStreamEndCapture(context.stream(), &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  MG_CUDA_CHECK(cudaStreamEndCapture(context.stream(), &graph));
  MG_CUDA_CHECK(cudaGraphGetNodes(graph, nullptr, &num_nodes_));
  const cudaError_t error = cudaGraphInstantiate(&graph_, graph, 0);
  cudaGraphDestroy(graph);
  MG_CUDA_CHECK(error);
}

CudaGraph::~CudaGraph() {
  cudaGraphExecDestroy(graph_);
}

void CudaGraph::launch() {
  MG_CUDA_CHECK(cudaGraphLaunch(graph_, context_.stream()));
}

}  // namespace megalith
