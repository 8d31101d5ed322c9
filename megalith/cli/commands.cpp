#include "megalith/cli/commands.h"

namespace megalith {

std::vector<Command> commands() {
  return {
      plot_command(),
      options_command(),
  };
}

}  // namespace megalith
