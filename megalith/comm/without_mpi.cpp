#include "megalith/comm/mpi_launch.h"

namespace megalith {

struct MpiSession::State {};

bool has_mpi() {
  return false;
}

MpiSession::MpiSession() {
  fail(
      "this build has no MPI: install libopenmpi-dev and openmpi-bin (`make build` does) and build again, "
      "set MASTER_ADDR and MASTER_PORT for srun, or start one process with --ranks");
}
MpiSession::~MpiSession() = default;

int MpiSession::rank() const {
  return 0;
}
int MpiSession::size() const {
  return 1;
}

void MpiSession::run(const MpiOptions&, const std::function<void(Communicator&)>&) {}

void run_mpi_rank(const MpiOptions& options, const std::function<void(Communicator&)>& body) {
  MpiSession().run(options, body);
}

}  // namespace megalith
