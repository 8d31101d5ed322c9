#include <charconv>
#include <cstdlib>
#include <string_view>

#include "megalith/comm/mpi_launch.h"
#include "megalith/comm/socket_launch.h"

namespace megalith {
namespace {

std::optional<int> number_from(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  const std::string_view view(text);
  int value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  MG_CHECK(error == std::errc() && end == view.data() + view.size() && value >= 0,
           "the environment variable {} is '{}'; a launcher sets it to a number", name, view);
  return value;
}

std::optional<MpiLaunch> from_variables(const char* launcher, const char* rank, const char* size,
                                        const char* local_rank, const char* num_local) {
  const auto rank_value = number_from(rank);
  const auto size_value = number_from(size);
  if (!rank_value || !size_value) return std::nullopt;
  MG_CHECK(*rank_value < *size_value, "the launcher sets {}={} and {}={}", rank, *rank_value, size,
           *size_value);
  return MpiLaunch{launcher, *rank_value, *size_value, number_from(local_rank).value_or(0),
                   number_from(num_local).value_or(0)};
}

}  // namespace

std::optional<MpiLaunch> detect_mpi_launch() {
  if (auto launch = from_variables("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                                   "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"))
    return launch;
  // A batch script has SLURM_PROCID too, but is no step of several tasks.
  return from_variables("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID",
                        "SLURM_NTASKS_PER_NODE");
}

std::optional<SocketLaunch> detect_socket_launch() {
  const auto ranks =
      from_variables("RANK and WORLD_SIZE", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE");
  if (!ranks) return std::nullopt;
  SocketLaunch launch{.rank = ranks->rank,
                      .size = ranks->size,
                      .local_rank = ranks->local_rank,
                      .num_local = ranks->num_local};
  if (launch.size == 1) return launch;  // nobody to meet
  const char* address = std::getenv("MASTER_ADDR");
  const std::optional<int> port = number_from("MASTER_PORT");
  MG_CHECK(address != nullptr && *address != '\0' && port,
           "RANK={} and WORLD_SIZE={} are set, {} is not: it says where rank 0 is", launch.rank, launch.size,
           port ? "MASTER_ADDR" : "MASTER_PORT");
  MG_CHECK(*port >= 1 && *port < 65535, "the environment variable MASTER_PORT is {}; allowed: 1 to 65534",
           *port);
  const char* agent = std::getenv("TORCHELASTIC_USE_AGENT_STORE");
  launch.address = address;
  launch.port = *port + (agent != nullptr && std::string_view(agent) == "True" ? 1 : 0);
  return launch;
}

}  // namespace megalith
