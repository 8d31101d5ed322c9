#include "megalith/comm/slurm_step.h"

#include <gtest/gtest.h>

namespace megalith {
namespace {

TEST(SlurmStep, FirstHostOfAList) {
  EXPECT_EQ(first_host_of("vm"), "vm");
  EXPECT_EQ(first_host_of("vm,other"), "vm");
  EXPECT_EQ(first_host_of("node[003-017,20],login"), "node003");
  EXPECT_EQ(first_host_of("gpu[7,9]"), "gpu7");
  EXPECT_EQ(first_host_of("r[1-2]n[05-06]-ib0"), "r1n05-ib0");
  for (const char* none : {"", ",", "node[003", "node[", "node[1-"})
    EXPECT_EQ(first_host_of(none), "") << none;
}

TEST(SlurmStep, TasksOnANode) {
  EXPECT_EQ(tasks_on_node("2", 0), 2);
  EXPECT_EQ(tasks_on_node("2", 1), 0);
  for (int node = 0; node < 6; ++node)
    EXPECT_EQ(tasks_on_node("4(x2),3,8(x3)", node), node < 2 ? 4 : node == 2 ? 3 : 8) << node;
  EXPECT_EQ(tasks_on_node("4(x2),3,8(x3)", 6), 0);
  for (const char* none : {"", "x", "4(x", "4(x2", "(x2)", "4;4", "99999999999"})
    EXPECT_EQ(tasks_on_node(none, 1), 0) << none;
}

}  // namespace
}  // namespace megalith
