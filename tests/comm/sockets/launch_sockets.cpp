// Ranks that meet through sockets, each with its own connection. As many of them as the variable
// MG_RANKS_OF_PROCESS says meet in memory, as rank threads of one process do.
#include <cstdlib>

#include "tests/comm/launch.h"
#include "tests/comm/run_processes.h"

namespace megalith {

int ranks_of_process(int num_ranks) {
  const char* text = std::getenv("MG_RANKS_OF_PROCESS");
  const int wanted = text == nullptr ? 1 : std::atoi(text);
  return num_ranks % wanted == 0 ? wanted : 1;
}

void launch(int num_ranks, const std::function<void(Communicator&)>& body) {
  const int of_process = ranks_of_process(num_ranks);
  run_processes(num_ranks / of_process, of_process,
                {.timeout = std::chrono::seconds(20), .connect_timeout = std::chrono::seconds(10)}, body);
}

}  // namespace megalith
