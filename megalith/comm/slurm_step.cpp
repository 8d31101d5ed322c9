#include "megalith/comm/slurm_step.h"

#include <charconv>

#include "megalith/comm/launch_variables.h"

namespace megalith {
namespace {

// Below the range from which Linux hands out ports by itself.
constexpr int kFirstPort = 15000, kPorts = 16000, kStepsOfAJob = 8;

int port_of_step() {
  // Steps of a batch script have large numbers.
  const auto number = [](const char* name) {
    const std::string_view text = text_from(name);
    uint32_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
  };
  const uint32_t place = number("SLURM_JOB_ID") * kStepsOfAJob + number("SLURM_STEP_ID") % kStepsOfAJob;
  return kFirstPort + static_cast<int>(place % kPorts);
}

}  // namespace

std::optional<SlurmStep> detect_slurm_step() {
  const auto rank = number_from("SLURM_PROCID"), size = number_from("SLURM_STEP_NUM_TASKS");
  if (!rank || !size) return std::nullopt;
  MG_CHECK(*rank < *size, "the launcher sets SLURM_PROCID={} and SLURM_STEP_NUM_TASKS={}", *rank, *size);
  return SlurmStep{.rank = *rank,
                   .size = *size,
                   .local_rank = number_from("SLURM_LOCALID").value_or(0),
                   .num_local = tasks_on_node(text_from("SLURM_STEP_TASKS_PER_NODE"),
                                              number_from("SLURM_NODEID").value_or(0)),
                   .has_pmix = !text_from("PMIX_NAMESPACE").empty(),
                   .first_host = first_host_of(text_from("SLURM_STEP_NODELIST")),
                   .port = port_of_step()};
}

std::string first_host_of(std::string_view list) {
  std::string host;
  for (size_t i = 0; i < list.size() && list[i] != ','; ++i) {
    if (list[i] != '[') {
      host += list[i];
      continue;
    }
    const size_t end = list.find_first_of("-,]", i), close = list.find(']', i);
    if (end == std::string_view::npos || close == std::string_view::npos) return {};
    host += list.substr(i + 1, end - i - 1);
    i = close;
  }
  return host;
}

int tasks_on_node(std::string_view counts, int node) {
  const char* at = counts.data();
  const char* const end = at + counts.size();
  while (at < end) {
    int tasks = 0, nodes = 1;
    const auto number = std::from_chars(at, end, tasks);
    if (number.ec != std::errc()) return 0;
    at = number.ptr;
    if (end - at > 2 && at[0] == '(' && at[1] == 'x') {
      const auto repeats = std::from_chars(at + 2, end, nodes);
      if (repeats.ec != std::errc() || repeats.ptr == end) return 0;
      at = repeats.ptr + 1;
    }
    if (node < nodes) return tasks;
    node -= nodes;
    if (at < end && *at++ != ',') return 0;
  }
  return 0;
}

}  // namespace megalith
