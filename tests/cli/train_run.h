#pragma once
// defines: Outcome, run, kTrain, losses_of, count

#include <array>
#include <chrono>
#include <cstdio>
#include <regex>
#include <string>

#include <gtest/gtest.h>
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

/// A small model on made-up data.
inline const std::string kTrain =
    std::string(MG_MEGALITH) + " train " + MG_SOURCE_DIR +
    "/recipes/llama-tiny.yaml --mock-data --vocab-size 256 --num-layers 2 --hidden-size 64 --ffn-hidden-size "
    "96 "
    "--seq-length 32 --micro-batch-size 1 --global-batch-size 4 --lr-warmup-iters 0 --eval-iters 1 ";

/// "steps 1 to 6: loss 5.5 -> 5.1, held-out loss 5.5 -> 5.0", without the speed.
inline std::string losses_of(const std::string& out) {
  std::smatch found;
  const std::regex summary(
      "steps [0-9]+ to [0-9]+: loss [0-9.]+ -> [0-9.]+, held-out loss [0-9.]+ -> [0-9.]+");
  const bool has_one = std::regex_search(out, found, summary);
  EXPECT_TRUE(has_one) << out;
  return has_one ? found.str() : "";
}

inline int count(const std::string& text, const std::string& part) {
  int times = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++times;
  return times;
}

}  // namespace megalith
