// `megalith verify-layouts` in processes: the lines of rank threads, with layouts that cannot run between
// them.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/processes/process_commands.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::string kVerify =
    std::string(MG_MEGALITH) + " verify-layouts " + MG_SOURCE_DIR +
    "/recipes/llama-tiny.yaml --vocab-size 256 --num-layers 4 --hidden-size 48 --ffn-hidden-size 96 "
    "--num-attention-heads 3 --num-query-groups 3 --seq-length 32 --steps 1 ";

class ProcessVerify : public ProcessCommands {};

TEST_F(ProcessVerify, SaysWhatRankThreadsSay) {
  for (const int of_process : {1, 2}) {
    const int size = 4 / of_process;
    next_port();
    const Outcome threads = run(kVerify + "--ranks 4 --layouts 16 2>/dev/null");
    const Outcome processes = run_in_all(
        size, torch_rank, kVerify + "--ranks " + std::to_string(of_process) + " --layouts 16 2>/dev/null");
    ASSERT_EQ(threads.status, 0) << threads.out;
    ASSERT_EQ(processes.status, 0) << processes.out;
    EXPECT_EQ(processes.out, threads.out);
    EXPECT_THAT(threads.out, AllOf(HasSubstr("cannot run: num_attention_heads 3"),
                                   HasSubstr("cannot run: cp_comm_type a2a"), HasSubstr(", ok\n")));
  }
}

TEST_F(ProcessVerify, FailsInAllWhereNumbersDiffer) {
  const Outcome outcome = run_in_all(2, torch_rank, kVerify + "--layouts 2 --steps 8 --lr 30");
  EXPECT_EQ(outcome.status, 1) << outcome.out;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("FAILED: "), HasSubstr("rank 1 ends because rank 0 failed"),
                                 HasSubstr("do not compute what one rank computes")));
}

}  // namespace
}  // namespace megalith
