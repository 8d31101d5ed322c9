#pragma once
// defines: Outcome, run, mpirun, kTrain

#include <array>
#include <chrono>
#include <cstdio>
#include <string>

#include <sys/wait.h>

namespace megalith {

struct Outcome {
  int status = 0;  ///< of the shell: 128 + the signal for who was killed
  double seconds = 0;
  std::string out;  ///< of stdout and stderr
};

inline Outcome run(const std::string& command) {
  const auto begin = std::chrono::steady_clock::now();
  Outcome outcome;
  FILE* pipe = popen(("{ " + command + "; } 2>&1").c_str(), "r");
  std::array<char, 4096> buffer;
  while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe))
    outcome.out.append(buffer.data(), count);
  const int status = pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return outcome;
}

/// `options`: of mpirun, as "-x NAME=value ".
inline std::string mpirun(int ranks, const std::string& options = "") {
  return std::string(MG_MPIRUN) + " " + options + "-np " + std::to_string(ranks) + " ";
}

/// A small model on made-up data.
inline const std::string kTrain =
    std::string(MG_MEGALITH) + " train " + MG_SOURCE_DIR +
    "/recipes/llama-tiny.yaml --mock-data --vocab-size 256 --num-layers 2 --hidden-size 64 --ffn-hidden-size "
    "96 "
    "--seq-length 32 --micro-batch-size 1 --global-batch-size 4 --lr-warmup-iters 0 --eval-iters 1 ";

}  // namespace megalith
