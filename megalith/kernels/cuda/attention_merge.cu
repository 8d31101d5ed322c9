#include "megalith/kernels/cuda/attention_merge.h"
#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"

namespace megalith::cuda {
namespace {

// A row is one head of one query; a thread holds one element of it and works out the row's two factors
// itself.
template <class T>
struct MergeHeads {
  cpu::AttentionMergeProblem p;
  const acc_t<T>* old_lse;
  __device__ void operator()(int64_t row, int64_t d) const {
    using A = acc_t<T>;
    const int64_t head = row % p.heads, s = row / p.heads % p.seq, b = row / p.heads / p.seq;
    const int64_t place = (b * p.heads + head) * p.seq + s;
    const A lse = old_lse[place], part_lse = static_cast<const A*>(p.part_lse)[place];
    const A larger = lse > part_lse ? lse : part_lse;
    const A smaller = lse > part_lse ? part_lse : lse;
    const A joined = larger + log1p(exp(smaller - larger));
    const T* part = static_cast<const T*>(p.part) + b * p.part_batch_stride + s * p.part_seq_stride +
                    head * p.part_head_stride;
    A& out = static_cast<A*>(p.out)[row * p.dim + d];
    out = exp(lse - joined) * out + exp(part_lse - joined) * static_cast<A>(part[d]);
    if (d == 0) static_cast<A*>(p.lse)[place] = joined;
  }
};

}  // namespace

void attention_merge(const cpu::AttentionMergeProblem& p, Exec& exec) {
  dispatch_device_float(p.dtype, [&]<class T>() {
    using A = acc_t<T>;
    const int64_t count = p.batch * p.heads * p.seq;
    ScratchFrame frame(exec.scratch());
    A* old_lse = frame.take<A>(count, "attention_merge lse");
    MG_CUDA_CHECK(cudaMemcpyAsync(old_lse, p.lse, static_cast<size_t>(count) * sizeof(A),
                                  cudaMemcpyDeviceToDevice, exec.cuda().stream()));
    launch_rows(MergeHeads<T>{p, old_lse}, count, p.dim, exec);
  });
}

}  // namespace megalith::cuda
