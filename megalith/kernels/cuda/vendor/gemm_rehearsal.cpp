#include "megalith/kernels/cuda/vendor/gemm_rehearsal.h"

#include <algorithm>

#include "megalith/core/cuda/check.h"
#include "megalith/kernels/cuda/random.h"

namespace megalith::cuda {

GemmRehearsal::GemmRehearsal(GemmPlan& plan, Exec& exec)
    : plan_(plan), exec_(exec), handle_(exec.slots().get<CublasLt>().handle()) {
  const GemmKey& key = plan.key();
  a_ = random((key.transpose_a ? key.k : key.m) * key.a_stride, key.dtype);
  b_ = random((key.transpose_b ? key.n : key.k) * key.b_stride, key.dtype);
  c_ = random(key.m * key.c_stride, key.out_dtype);
  bias_ = random(key.n, key.out_dtype);
  workspace_ = exec.empty({kGemmWorkspaceBytes}, DType::kU8);
  MG_CUDA_CHECK(cudaEventCreate(&begin_));
  MG_CUDA_CHECK(cudaEventCreate(&end_));
}

GemmRehearsal::~GemmRehearsal() {
  cudaEventDestroy(begin_);
  cudaEventDestroy(end_);
}

Tensor GemmRehearsal::random(int64_t count, DType dtype) {
  const Tensor x = exec_.empty({count}, dtype);
  cuda::fill_normal({.dtype = dtype, .x = x.raw(), .count = count, .std = 0.02, .rng = exec_.rng()}, exec_);
  return x;
}

void GemmRehearsal::run() {
  plan_.run({.a = a_.raw(),
             .b = b_.raw(),
             .c = c_.raw(),
             .bias = bias_.raw(),
             .beta = plan_.key().reads_c ? 1.0 : 0.0,
             .workspace = workspace_.raw(),
             .stream = exec_.cuda().stream()},
            handle_);
}

bool GemmRehearsal::use(const GemmAlgorithm& algorithm) {
  if (!plan_.use(algorithm, handle_)) return false;
  try {
    run();
  } catch (const Error&) {
    return false;  // what passes the library's check may still be refused at the call
  }
  return true;
}

double GemmRehearsal::time(int count) {
  const cudaStream_t stream = exec_.cuda().stream();
  MG_CUDA_CHECK(cudaEventRecord(begin_, stream));
  for (int i = 0; i < count; ++i) run();
  MG_CUDA_CHECK(cudaEventRecord(end_, stream));
  MG_CUDA_CHECK(cudaEventSynchronize(end_));
  float ms = 0;
  MG_CUDA_CHECK(cudaEventElapsedTime(&ms, begin_, end_));
  return static_cast<double>(ms) / count;
}

double GemmRehearsal::time_at_limit(double call_ms, double warm_ms, double timed_ms) {
  const auto calls = [&](double ms) { return std::max(1, static_cast<int>(ms / call_ms)); };
  time(calls(warm_ms));
  return time(calls(timed_ms));
}

}  // namespace megalith::cuda
