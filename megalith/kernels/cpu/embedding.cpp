#include "megalith/kernels/cpu/embedding.h"

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {

void embedding(EmbeddingArgs args, Exec& exec) {
  args.num_threads = threads_for(args.tokens * args.cols, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), embedding)(args);
}

void embedding_backward(EmbeddingBackwardArgs args, Exec& exec) {
  args.num_threads = threads_for(args.tokens * args.cols, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), embedding_backward)(args);
}

}  // namespace megalith::cpu
