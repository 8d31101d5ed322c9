#include "megalith/kernels/cpu/attention_merge.h"

#include <algorithm>
#include <cmath>

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {
namespace {

template <class T>
void merge(const AttentionMergeProblem& p, [[maybe_unused]] int num_threads) {
  using A = accumulate_t<T>;
#pragma omp parallel for num_threads(num_threads) schedule(static)
  for (int64_t row = 0; row < p.batch * p.seq; ++row) {
    const int64_t b = row / p.seq, s = row % p.seq;
    for (int64_t head = 0; head < p.heads; ++head) {
      const int64_t place = (b * p.heads + head) * p.seq + s;
      A& lse = static_cast<A*>(p.lse)[place];
      const A part_lse = static_cast<const A*>(p.part_lse)[place];
      const A larger = std::max(lse, part_lse);
      const A joined = larger + std::log1p(std::exp(std::min(lse, part_lse) - larger));
      const A keep = std::exp(lse - joined), take = std::exp(part_lse - joined);
      const T* part = static_cast<const T*>(p.part) + b * p.part_batch_stride + s * p.part_seq_stride +
                      head * p.part_head_stride;
      A* out = static_cast<A*>(p.out) + (row * p.heads + head) * p.dim;
      for (int64_t d = 0; d < p.dim; ++d) out[d] = keep * out[d] + take * static_cast<A>(part[d]);
      lse = joined;
    }
  }
}

}  // namespace

void attention_merge(const AttentionMergeProblem& problem, Exec& exec) {
  const int64_t elements = problem.batch * problem.seq * problem.heads * problem.dim;
  const int num_threads = threads_for(elements, exec.num_threads());
  dispatch_dtype<double, float, bf16, f16>(problem.dtype, "attention_merge",
                                           [&]<class T>() { merge<T>(problem, num_threads); });
}

}  // namespace megalith::cpu
