#pragma once
// defines: SlurmStep, detect_slurm_step, first_host_of, tasks_on_node

#include <optional>
#include <string>
#include <string_view>

namespace megalith {

/// A task that srun started, as Slurm's variables describe it.
struct SlurmStep {
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int num_local = 0;       ///< tasks of this node; 0 where Slurm does not say
  bool has_pmix = false;   ///< srun --mpi=pmix: MPI can tell the tasks where their peers are
  std::string first_host;  ///< of the step, where task 0 runs; empty where Slurm does not say
  int port = 0;            ///< below the ports that systems hand out, another one for each of a job's steps
};

/// Nothing outside the tasks of a step; a batch script has a task's number too, but is none. Throws Error
/// naming the variable that is no number or contradicts another.
std::optional<SlurmStep> detect_slurm_step();

/// The first host of a list as Slurm writes it: "node[003-017,20],login" -> "node003".
std::string first_host_of(std::string_view list);

/// Of counts as Slurm writes them, "4(x2),3": 4, 4 and 3; 0 behind their end or where they are not such a
/// list.
int tasks_on_node(std::string_view counts, int node);

}  // namespace megalith
