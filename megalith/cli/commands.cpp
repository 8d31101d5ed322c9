#include "megalith/cli/commands.h"

namespace megalith {

std::vector<Command> commands() {
  return {
      // data
      tokenizer_train_command(),
      preprocess_command(),
      data_merge_command(),
      data_inspect_command(),
      // training
      train_command(),
      generate_command(),
      plan_command(),
      verify_layouts_command(),
      // what came of it
      plot_command(),
      logits_command(),
      export_command(),
      doctor_command(),
      bench_step_command(),
      bench_kernels_command(),
      bench_gemm_command(),
      bench_head_command(),
      bench_attention_command(),
      bench_decode_command(),
      options_command(),
  };
}

}  // namespace megalith
