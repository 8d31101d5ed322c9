#include "megalith/comm/run_ranks.h"

#include "tests/comm/launch.h"

namespace megalith {

void launch(int num_ranks, const std::function<void(Communicator&)>& body) {
  run_ranks(num_ranks, body);
}

}  // namespace megalith
