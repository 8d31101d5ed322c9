#pragma once
// defines: ProcessCommands

#include <cstdlib>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/cli/train_run.h"

namespace megalith {

/// Commands in processes that environment variables make ranks.
class ProcessCommands : public testing::Test {
 protected:
  void SetUp() override {
    setenv("OMP_NUM_THREADS", "1", 1);
    setenv("MASTER_ADDR", "127.0.0.1", 1);
    next_port();
  }
  void TearDown() override {
    unsetenv("MASTER_ADDR");
    unsetenv("MASTER_PORT");
  }
  void next_port() {
    // Below those that the system gives to sockets of other tests.
    setenv("MASTER_PORT", std::to_string(20000 + (getpid() * 8 + num_ports_++) % 12000).c_str(), 1);
  }
  static std::string torch_rank(int rank, int size) {
    const std::string place = std::to_string(rank), all = std::to_string(size);
    return "RANK=" + place + " WORLD_SIZE=" + all + " LOCAL_RANK=" + place + " LOCAL_WORLD_SIZE=" + all + " ";
  }
  static std::string slurm_task(int rank, int size) {
    return "SLURM_PROCID=" + std::to_string(rank) + " SLURM_STEP_NUM_TASKS=" + std::to_string(size) +
           " SLURM_NTASKS=" + std::to_string(size) + " SLURM_LOCALID=" + std::to_string(rank) + " ";
  }
  /// All ranks in one shell, the first one last; the status is the first one's.
  template <class Variables>
  static Outcome run_in_all(int size, const Variables& variables, const std::string& command) {
    std::string all = "(";
    for (int rank = size - 1; rank >= 0; --rank)
      all += variables(rank, size) + command + (rank == 0 ? "; status=$?; wait; " : " & ");
    return run(all + "exit $status)");
  }

 private:
  int num_ports_ = 0;
};

}  // namespace megalith
