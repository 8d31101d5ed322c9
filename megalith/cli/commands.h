#pragma once
// defines: commands, and one function per subcommand

#include <vector>

#include "megalith/cli/command.h"

namespace megalith {

Command bench_attention_command();
Command bench_decode_command();
Command bench_gemm_command();
Command bench_head_command();
Command bench_kernels_command();
Command bench_step_command();
Command doctor_command();
Command generate_command();
Command options_command();
Command plan_command();
Command plot_command();
Command tokenizer_train_command();
Command preprocess_command();
Command data_inspect_command();
Command data_merge_command();
Command export_command();
Command logits_command();
Command train_command();
Command verify_layouts_command();

/// Every subcommand, in the order in which a newcomer meets them.
std::vector<Command> commands();

}  // namespace megalith
