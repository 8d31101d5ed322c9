#include "megalith/cli/commands.h"

namespace megalith {

std::vector<Command> commands() {
  return {
      tokenizer_train_command(),
      train_command(),
      plan_command(),
      plot_command(),
      options_command(),
  };
}

}  // namespace megalith
