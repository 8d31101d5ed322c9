#include <charconv>
#include <cstdlib>
#include <string_view>

#include "megalith/comm/mpi_launch.h"

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

}  // namespace megalith
