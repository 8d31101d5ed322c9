#include "megalith/base/stop_signal.h"

#include <chrono>
#include <csignal>
#include <thread>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace megalith {
namespace {

using namespace std::chrono_literals;

// A signal to the process reaches a thread when the kernel sees fit.
bool comes(StopSignal& stop) {
  for (int wait_ms = 0; wait_ms < 5000 && !stop.requested(); ++wait_ms) std::this_thread::sleep_for(1ms);
  return stop.requested();
}

// The signal that ended a child which ran `work`, or minus its exit status.
template <class Work>
int ended_by(const Work& work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

TEST(StopSignal, TurnsTheFirstSignalIntoAQuestion) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    StopSignal stop;
    EXPECT_FALSE(stop.requested());
    EXPECT_EQ(stop.signal(), 0);
    ASSERT_EQ(::kill(::getpid(), number), 0);
    EXPECT_TRUE(comes(stop));
    EXPECT_TRUE(stop.requested());
    EXPECT_EQ(stop.signal(), number);
  }
}

TEST(StopSignal, IsBlockedInThreadsStartedAfterIt) {
  StopSignal stop;
  std::jthread([] { ::raise(SIGTERM); }).join();  // pending on that thread alone: ends nobody
  std::jthread([] { ::kill(::getpid(), SIGTERM); }).join();
  EXPECT_TRUE(comes(stop));
}

TEST(StopSignal, ThreadsThatWereThereBeforePassItOn) {
  std::jthread before([](const std::stop_token& token) {
    while (!token.stop_requested()) std::this_thread::sleep_for(1ms);
  });
  StopSignal stop;
  ::kill(::getpid(), SIGTERM);  // the kernel gives it to the thread that does not block it
  EXPECT_TRUE(comes(stop));
}

TEST(StopSignal, EndsTheProcessUntilItIsHeeded) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    EXPECT_EQ(ended_by([&] {
                StopSignal stop(false);
                ::kill(::getpid(), number);
                for (int i = 0; i < 5000 && !stop.requested(); ++i) std::this_thread::sleep_for(1ms);
                return 3;
              }),
              number);
    StopSignal stop(false);
    std::jthread([&] { stop.heed(), stop.heed(); }).join();
    EXPECT_FALSE(stop.requested());
    ::kill(::getpid(), number);
    EXPECT_TRUE(comes(stop));
    EXPECT_EQ(stop.signal(), number);
  }
}

TEST(StopSignal, TheSecondSignalEndsTheProcess) {
  EXPECT_EQ(ended_by([] {
              StopSignal stop;
              ::kill(::getpid(), SIGINT);
              if (!comes(stop)) return 3;
              std::this_thread::sleep_for(1500ms);
              ::kill(::getpid(), SIGINT);
              std::this_thread::sleep_for(5s);
              return 4;
            }),
            SIGINT);
}

TEST(StopSignal, TheSecondSignalEndsWhoDoesNotAsk) {
  EXPECT_EQ(ended_by([] {
              const StopSignal stop;
              ::kill(::getpid(), SIGINT);
              std::this_thread::sleep_for(1500ms);
              ::kill(::getpid(), SIGTERM);
              std::this_thread::sleep_for(5s);
              return 4;
            }),
            SIGTERM);
}

TEST(StopSignal, TwoAtOnceAreOne) {
  EXPECT_EQ(ended_by([] {
              {
                StopSignal stop;
                ::kill(::getpid(), SIGTERM);
                if (!comes(stop)) return 3;
                ::kill(::getpid(), SIGTERM);
                std::this_thread::sleep_for(100ms);
              }
              return 7;
            }),
            -7);
}

TEST(StopSignal, AnIgnoredHangUpStaysIgnored) {
  EXPECT_EQ(ended_by([] {
              ::signal(SIGHUP, SIG_IGN);
              StopSignal stop;
              ::kill(::getpid(), SIGHUP);
              std::this_thread::sleep_for(100ms);
              return stop.requested() ? 3 : 7;
            }),
            -7);
}

}  // namespace
}  // namespace megalith
