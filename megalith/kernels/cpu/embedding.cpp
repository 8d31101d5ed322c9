#include "megalith/kernels/cpu/embedding.h"

#include <algorithm>
#include <tuple>

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {

void embedding(EmbeddingArgs args, Exec& exec) {
  args.num_threads = threads_for(args.tokens * args.cols, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), embedding)(args);
}

void embedding_backward(EmbeddingBackwardArgs args, Exec& exec) {
  ScratchFrame frame(exec.scratch());
  int32_t* order = frame.take<int32_t>(args.tokens, "embedding tokens by row");
  for (int64_t t = 0; t < args.tokens; ++t) {
    const int64_t row = args.ids[t] - args.first_id;
    if (row >= 0 && row < args.num_rows) order[args.num_held++] = static_cast<int32_t>(t);
  }
  std::sort(order, order + args.num_held,
            [&](int32_t a, int32_t b) { return std::tie(args.ids[a], a) < std::tie(args.ids[b], b); });
  args.tokens_by_row = order;
  args.num_threads = threads_for(args.tokens * args.cols, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), embedding_backward)(args);
}

}  // namespace megalith::cpu
