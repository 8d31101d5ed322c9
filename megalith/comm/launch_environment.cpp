#include "megalith/comm/launch_variables.h"
#include "megalith/comm/mpi_launch.h"
#include "megalith/comm/slurm_step.h"
#include "megalith/comm/socket_launch.h"

namespace megalith {
namespace {

// A rank as one launcher's variables describe it.
struct Variables {
  const char *rank, *size, *local_rank, *num_local;
};
constexpr Variables kOpenMpi = {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
                                "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Variables kTorch = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};

bool is_set(const char* name) {
  return !text_from(name).empty();
}

std::optional<MpiLaunch> read(const Variables& names, const char* launcher) {
  const auto rank = number_from(names.rank), size = number_from(names.size);
  if (!rank || !size) return std::nullopt;
  MG_CHECK(*rank < *size, "the launcher sets {}={} and {}={}", names.rank, *rank, names.size, *size);
  return MpiLaunch{launcher, *rank, *size, number_from(names.local_rank).value_or(0),
                   number_from(names.num_local).value_or(0)};
}

std::optional<MpiLaunch> read_torch() {
  for (const auto& [here, missing] :
       {std::pair(kTorch.rank, kTorch.size), std::pair(kTorch.size, kTorch.rank)})
    MG_CHECK(
        !is_set(here) || is_set(missing),
        "the environment variable {} is set, {} is not: a launcher sets both; unset {} to start a run of "
        "its own",
        here, missing, here);
  const auto ranks = read(kTorch, "RANK and WORLD_SIZE");
  if (!ranks || ranks->num_local == 0) return ranks;
  MG_CHECK(ranks->local_rank < ranks->num_local && ranks->num_local <= ranks->size,
           "LOCAL_RANK={} and LOCAL_WORLD_SIZE={} contradict each other or WORLD_SIZE={}", ranks->local_rank,
           ranks->num_local, ranks->size);
  return ranks;
}

}  // namespace

std::optional<MpiLaunch> detect_mpi_launch() {
  const auto by_mpirun = read(kOpenMpi, "mpirun");
  const auto by_torch = read_torch();
  if (!by_mpirun || by_mpirun->size == 1) {
    // torchrun in the tasks of a step, or tasks that are to meet at MASTER_ADDR.
    if (by_mpirun || by_torch || is_set("MASTER_ADDR")) return by_mpirun;
    const std::optional<SlurmStep> step = detect_slurm_step();
    if (!step || !step->has_pmix || !has_mpi()) return std::nullopt;
    return MpiLaunch{"srun", step->rank, step->size, step->local_rank, step->num_local};
  }
  MG_CHECK(!by_torch || (by_torch->rank == by_mpirun->rank && by_torch->size == by_mpirun->size),
           "mpirun says that this is rank {} of {}, RANK and WORLD_SIZE say rank {} of {}: unset those that "
           "are wrong",
           by_mpirun->rank, by_mpirun->size, by_torch->rank, by_torch->size);
  return by_mpirun;
}

std::optional<SocketLaunch> detect_socket_launch() {
  std::optional<MpiLaunch> ranks = read_torch();
  const auto step = ranks || is_set("OMPI_COMM_WORLD_RANK") ? std::nullopt : detect_slurm_step();
  if (step)
    ranks = MpiLaunch{"SLURM_PROCID and SLURM_STEP_NUM_TASKS", step->rank, step->size, step->local_rank,
                      step->num_local};
  if (!ranks) return std::nullopt;
  SocketLaunch launch{.rank = ranks->rank,
                      .size = ranks->size,
                      .local_rank = ranks->local_rank,
                      .num_local = ranks->num_local};
  if (launch.size == 1) return launch;  // nobody to meet
  const std::optional<int> port = number_from("MASTER_PORT");
  if (step && !is_set("MASTER_ADDR")) {
    MG_CHECK(
        !step->first_host.empty(),
        "this is task {} of {} of srun without PMIx, SLURM_STEP_NODELIST does not say where task 0 runs: "
        "start with `srun --mpi=pmix`, or set MASTER_ADDR and MASTER_PORT",
        step->rank, step->size);
    launch.address = step->first_host;
    launch.port = port.value_or(step->port);
  } else {
    MG_CHECK(is_set("MASTER_ADDR") && port, "{} say rank {} of {}, {} is not set: it says where rank 0 is",
             ranks->launcher, launch.rank, launch.size, port ? "MASTER_ADDR" : "MASTER_PORT");
    launch.address = text_from("MASTER_ADDR");
    launch.port = *port;
  }
  MG_CHECK(launch.port >= 1 && launch.port < 65535,
           "the environment variable MASTER_PORT is {}; allowed: 1 to 65534", launch.port);
  if (text_from("TORCHELASTIC_USE_AGENT_STORE") == "True") ++launch.port;
  return launch;
}

}  // namespace megalith
