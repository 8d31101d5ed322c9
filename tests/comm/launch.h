#pragma once
// defines: launch

#include <functional>

#include "megalith/comm/communicator.h"

namespace megalith {

/// Runs `body` in a group "world" of num_ranks ranks of the backend under test: rank threads in test_comm,
/// the processes of mpirun in test_comm_mpi, which leaves out bodies for more ranks than it has.
void launch(int num_ranks, const std::function<void(Communicator&)>& body);

}  // namespace megalith
