// Checkpoints of two processes of which one goes wrong: an earlier checkpoint stays, the job ends in seconds,
// and says what happened.
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/checkpoint/reader.h"

#include "tests/cli/mpi/mpi_run.h"

namespace megalith {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

namespace fs = std::filesystem;

constexpr int kBegin = 2, kEnd = 4;  // steps: saved before the fault, and at the end

class SaveFaults : public testing::Test {
 protected:
  void SetUp() override {
    setenv("OMP_NUM_THREADS", "1", 1);
    std::string name = (fs::temp_directory_path() / "megalith_faults_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    const Outcome first = run(mpirun(2) + kTrain + steps(kBegin) + "--save " + (folder_ / "base").string());
    ASSERT_EQ(first.status, 0) << first.out;
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::string steps(int64_t last) {
    return fmt::format("--train-iters {} --lr-decay-iters {} --data-parallel-sharding-strategy optim ", last,
                       kEnd);
  }

  /// A copy of the first run's folder.
  fs::path fresh(const std::string& name) const {
    fs::copy(folder_ / "base", folder_ / name, fs::copy_options::recursive);
    return folder_ / name;
  }

  // The run goes on to kEnd and saves after every step.
  static Outcome go_on(const fs::path& place, int rank, int64_t call, const std::string& kind,
                       const std::string& flags) {
    // mpirun does not give those a second to end whose peer was killed.
    const std::string options = fmt::format(
        "--mca odls_base_sigkill_timeout 0 -x LD_PRELOAD={} -x FAULT_FOLDER={} -x FAULT_RANK={} -x "
        "FAULT_CALL={} -x FAULT_KIND={} ",
        MG_FAULT_AT_CALL, place.string(), rank, call, kind);
    return run("timeout -k 1 60 " + mpirun(2, options) + kTrain + steps(kEnd) + flags +
               fmt::format("--save-interval 1 --save {} --load {}", place.string(), place.string()));
  }

  fs::path folder_;
};

class KilledRank : public SaveFaults, public testing::WithParamInterface<int> {};

// Kill points spread over all that a rank does to files from the first save beside training to the end.
TEST_P(KilledRank, AtAnyMomentOfAnAsynchronousSaveLeavesACheckpoint) {
  constexpr int64_t kPoints = 5;
  const int rank = GetParam();
  const Outcome whole = go_on(fresh("whole"), rank, 0, "kill", "--async-save ");
  ASSERT_EQ(whole.status, 0) << whole.out;
  const size_t at = whole.out.find("fault_at_call: ");
  ASSERT_NE(at, std::string::npos) << whole.out;
  const int64_t calls = std::atol(whole.out.c_str() + at + 15);
  EXPECT_GT(calls, 20);
  fs::path place;
  for (int64_t point = 0; point < kPoints; ++point) {
    const int64_t call = 1 + point * (calls - 1) / (kPoints - 1);
    SCOPED_TRACE(fmt::format("killed at call {} of {}", call, calls));
    place = fresh(fmt::format("killed{}", call));
    const Outcome outcome = go_on(place, rank, call, "kill", "--async-save ");
    EXPECT_NE(outcome.status, 0) << outcome.out;
    EXPECT_LT(outcome.seconds, 30) << outcome.out;
    const CheckpointReader reader(place);  // checks every file
    EXPECT_GE(reader.iteration(), kBegin);
    EXPECT_LE(reader.iteration(), kEnd);
  }
  const Outcome again = run(kTrain + steps(kEnd + 1) + fmt::format("--save {0} --load {0}", place.string()));
  EXPECT_EQ(again.status, 0) << again.out;
  EXPECT_EQ(CheckpointReader(place).iteration(), kEnd + 1);
}

INSTANTIATE_TEST_SUITE_P(Both, KilledRank, testing::Values(0, 1));

TEST_F(SaveFaults, AFullDiskOnOneRankEndsTheJobAndCostsNothing) {
  for (const std::string flags : {"", "--async-save "}) {
    SCOPED_TRACE(flags);
    const fs::path place = fresh("full" + flags.substr(0, flags.size() / 2));
    const Outcome outcome = go_on(place, 1, 1, "full", flags);
    EXPECT_NE(outcome.status, 0);
    EXPECT_LT(outcome.seconds, 30) << outcome.out;
    // From rank 1 itself, or from rank 0, at whose end mpirun may be quicker than rank 1's last line.
    EXPECT_THAT(outcome.out, ContainsRegex("rank 1( failed)?: the checkpoint of iteration 3 was not saved"));
    EXPECT_THAT(outcome.out, HasSubstr("No space left on device"));
    EXPECT_EQ(CheckpointReader(place).iteration(), kBegin);
  }
}

TEST_F(SaveFaults, SigtermToOneRankSavesOnAllAndEndsWell) {
  const fs::path place = folder_ / "stopped", file = folder_ / "process";
  const std::string train = kTrain +
                            "--train-iters 1000000 --lr-decay-iters 1000000 --eval-interval 1000000 "
                            "--data-parallel-sharding-strategy optim --save " +
                            place.string();
  std::jthread sender([&] {
    const auto bytes = [metrics = place / "metrics.jsonl"] {
      std::error_code error;
      const auto size = fs::file_size(metrics, error);
      return error ? 0 : size;
    };
    for (int i = 0; i < 3000 && bytes() < 500; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    int process = 0;
    std::ifstream(file) >> process;
    if (process > 0) ::kill(process, SIGTERM);
  });
  const Outcome outcome = run("timeout -k 1 60 " + mpirun(1) + train + " : -np 1 sh -c 'echo $$ >" +
                              file.string() + "; exec " + train + "'");
  EXPECT_EQ(outcome.status, 0) << outcome.out;
  EXPECT_THAT(outcome.out, HasSubstr("steps 1 to "));
  const CheckpointReader reader(place);
  EXPECT_GT(reader.iteration(), 0);
  EXPECT_EQ(reader.state("consumed_samples"), std::to_string(4 * reader.iteration()));
}

}  // namespace
}  // namespace megalith
