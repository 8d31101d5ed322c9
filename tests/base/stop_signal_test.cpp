#include "megalith/base/stop_signal.h"

#include <chrono>
#include <csignal>
#include <thread>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace megalith {
namespace {

TEST(StopSignal, TurnsTheFirstSignalIntoAQuestion) {
  for (const int number : {SIGINT, SIGTERM}) {
    StopSignal stop;
    EXPECT_FALSE(stop.requested());
    EXPECT_EQ(stop.signal(), 0);
    ASSERT_EQ(::kill(::getpid(), number), 0);
    EXPECT_TRUE(stop.requested());
    EXPECT_TRUE(stop.requested());
    EXPECT_EQ(stop.signal(), number);
  }
}

TEST(StopSignal, IsBlockedInThreadsStartedAfterIt) {
  StopSignal stop;
  std::jthread([] { ::raise(SIGTERM); }).join();  // pending on that thread alone: ends nobody
  std::jthread([] { ::kill(::getpid(), SIGTERM); }).join();
  EXPECT_TRUE(stop.requested());
}

TEST(StopSignal, ThreadsThatWereThereBeforePassItOn) {
  std::jthread before([](const std::stop_token& token) {
    while (!token.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  StopSignal stop;
  ::kill(::getpid(), SIGTERM);  // the kernel gives it to the thread that does not block it
  for (int wait_ms = 0; wait_ms < 5000 && !stop.requested(); ++wait_ms) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(stop.requested());
}

TEST(StopSignal, TheSecondSignalEndsTheProcess) {
  const pid_t child = ::fork();
  if (child == 0) {
    StopSignal stop;
    ::kill(::getpid(), SIGINT);
    if (!stop.requested()) ::_exit(3);
    ::kill(::getpid(), SIGINT);
    ::_exit(4);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status)) << "exit status " << WEXITSTATUS(status);
  EXPECT_EQ(WTERMSIG(status), SIGINT);
}

}  // namespace
}  // namespace megalith
