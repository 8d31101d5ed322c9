#include <exception>
#include <numeric>

#include <mpi.h>

#include "megalith/base/log.h"
#include "megalith/comm/mpi_check.h"
#include "megalith/comm/mpi_communicator.h"
#include "megalith/comm/mpi_launch.h"

namespace megalith {

struct MpiSession::State {
  int rank = 0;
  int size = 1;
};

bool has_mpi() {
  return true;
}

MpiSession::MpiSession() : state_(std::make_unique<State>()) {
  int was_finalized = 0;
  int is_initialized = 0;
  MPI_Finalized(&was_finalized);
  MPI_Initialized(&is_initialized);
  MG_CHECK(was_finalized == 0 && is_initialized == 0, "MPI can be started once in a process");
  int level = MPI_THREAD_SINGLE;
  MG_MPI_CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &level));
  MG_CHECK(level >= MPI_THREAD_SERIALIZED, "this MPI does not let several threads take turns");
  MG_MPI_CHECK(MPI_Comm_rank(MPI_COMM_WORLD, &state_->rank));
  MG_MPI_CHECK(MPI_Comm_size(MPI_COMM_WORLD, &state_->size));
}

MpiSession::~MpiSession() {
  MPI_Finalize();
}

int MpiSession::rank() const {
  return state_->rank;
}
int MpiSession::size() const {
  return state_->size;
}

void MpiSession::run(const MpiOptions& options, const std::function<void(Communicator&)>& body) {
  const auto world = std::make_shared<MpiWorld>(MPI_COMM_WORLD, options);
  MpiGroup everyone{.name = "world", .world_ranks = std::vector<int>(static_cast<size_t>(size())), .id = 0};
  std::iota(everyone.world_ranks.begin(), everyone.world_ranks.end(), 0);
  std::exception_ptr own_error;
  try {
    MpiCommunicator comm(world, everyone, rank());
    body(comm);
  } catch (const PeerFailure&) {
    // Follows from what another rank threw.
  } catch (const std::exception& error) {
    own_error = std::current_exception();
    world->abort(error.what());
  } catch (...) {
    own_error = std::current_exception();
    world->abort("an exception of an unknown type");
  }
  world->finish();
  const auto failure = world->failure();
  if (failure) log_error("{}", world->flight().report_of(rank()));
  if (own_error) std::rethrow_exception(own_error);
  if (!failure) return;
  if (failure->rank == rank()) fail("rank {} aborted: {}", failure->rank, failure->reason);
  throw PeerFailure(
      fmt::format("rank {} ends because rank {} failed: {}", rank(), failure->rank, failure->reason));
}

void run_mpi_rank(const MpiOptions& options, const std::function<void(Communicator&)>& body) {
  MpiSession().run(options, body);
}

}  // namespace megalith
