#include "megalith/kernels/cpu/attention.h"

#include <algorithm>

#include "megalith/base/math.h"
#include "megalith/core/exec.h"

namespace megalith::cpu {
namespace {

// Packed keys and values are held for as many heads at a time as fit, and at least one.
constexpr int64_t kMaxPackedBytes = 16 << 20;

struct Sizes {
  explicit Sizes(const AttentionProblem& p)
      : width(round_up(p.head_dim, kHeadDimMultiple)),
        keys(round_up(p.keys, kKeyBlock)),
        sum_bytes(p.dtype == DType::kF64 ? 8 : 4),
        pairs(p.batch * p.kv_heads) {}
  int64_t width, keys, sum_bytes, pairs;
};

struct WorkspaceCounts {
  int64_t shared, per_thread;
};

AttentionWorkspace take_workspace(ScratchFrame& frame, const Sizes& sizes, int num_threads,
                                  WorkspaceCounts counts) {
  // Threads on lines of their own.
  const int64_t thread_size = round_up<int64_t>(counts.per_thread, 64);
  return {frame.take<std::byte>(counts.shared * sizes.sum_bytes, "attention keys"),
          frame.take<std::byte>(thread_size * num_threads * sizes.sum_bytes, "attention blocks"),
          thread_size,
          num_threads,
          0,
          sizes.pairs};
}

void decode(const AttentionProblem& p, const Sizes& sizes, Exec& exec) {
  const int64_t rows = p.heads / p.kv_heads * p.queries;
  const int64_t spans = ceil_div(p.keys, kKeySpan);
  const int num_threads = static_cast<int>(std::min<int64_t>(exec.num_threads(), sizes.pairs * spans));
  ScratchFrame frame(exec.scratch());
  const WorkspaceCounts counts{sizes.pairs * spans * rows * (p.head_dim + 2), rows * p.head_dim};
  MG_ISA_FUNCTION(exec.isa(), attention_decode)(p, take_workspace(frame, sizes, num_threads, counts));
}

void prefill(const AttentionProblem& p, const Sizes& sizes, Exec& exec) {
  const int64_t pair_size = sizes.keys * (p.head_dim + sizes.width);
  const int64_t pairs_at_once =
      std::clamp<int64_t>(kMaxPackedBytes / (pair_size * sizes.sum_bytes), 1, sizes.pairs);
  ScratchFrame frame(exec.scratch());
  const WorkspaceCounts counts{pairs_at_once * pair_size, kQueryBlock * (2 * sizes.width + kKeySpan)};
  AttentionWorkspace workspace = take_workspace(frame, sizes, exec.num_threads(), counts);
  for (int64_t pair = 0; pair < sizes.pairs; pair += pairs_at_once) {
    workspace.first_pair = pair;
    workspace.num_pairs = std::min(pairs_at_once, sizes.pairs - pair);
    MG_ISA_FUNCTION(exec.isa(), attention_prefill)(p, workspace);
  }
}

}  // namespace

void attention(const AttentionProblem& problem, Exec& exec) {
  const Sizes sizes(problem);
  if (problem.heads / problem.kv_heads * problem.queries <= kMaxDecodeRows && problem.keys > 0)
    return decode(problem, sizes, exec);
  prefill(problem, sizes, exec);
}

void attention_backward(const AttentionProblem& problem, const AttentionGradients& gradients, Exec& exec) {
  const Sizes sizes(problem);
  const int num_threads = static_cast<int>(std::min<int64_t>(exec.num_threads(), sizes.pairs));
  ScratchFrame frame(exec.scratch());
  const WorkspaceCounts counts{0, sizes.keys * (2 * problem.head_dim + 3 * sizes.width) +
                                      kQueryBlock * (3 * sizes.width + 2 * kKeySpan)};
  MG_ISA_FUNCTION(exec.isa(), attention_backward)
  (problem, gradients, take_workspace(frame, sizes, num_threads, counts));
}

}  // namespace megalith::cpu
