#include "megalith/base/stop_signal.h"

#include <cerrno>
#include <condition_variable>
#include <ctime>
#include <iterator>
#include <mutex>

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace megalith {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
constexpr unsigned kSecondsUntilTheNextEnds = 1;

// Runs in a thread that does not block the signal; the main thread, whose id is that of the process, then
// finds it pending. The alarm keeps the time since the first signal: a handler has no state of its own.
void pass_to_main_thread(int signal) {
  const int saved_errno = errno;
  syscall(SYS_tgkill, getpid(), getpid(), signal);
  alarm(kSecondsUntilTheNextEnds);
  errno = saved_errno;
}

void let_the_next_end_the_process(int) {
  const int saved_errno = errno;
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (const int signal : kSignals) sigaction(signal, &action, nullptr);
  errno = saved_errno;
}

void receive(const std::stop_token& token, const sigset_t& signals) {
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  std::mutex mutex;
  std::condition_variable_any ended;
  std::unique_lock lock(mutex);
  ended.wait(lock, token, [] { return false; });
}

}  // namespace

StopSignal::StopSignal(bool is_heeded) {
  struct sigaction action {};
  action.sa_handler = let_the_next_end_the_process;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, &previous_alarm_);
  sigemptyset(&blocked_);
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    sigaction(kSignals[i], nullptr, &previous_actions_[i]);
    if (kSignals[i] == SIGHUP && previous_actions_[i].sa_handler == SIG_IGN) continue;
    sigaddset(&blocked_, kSignals[i]);
  }
  if (is_heeded) heed();
  pthread_sigmask(SIG_BLOCK, &blocked_, &previous_);
  receiver_ = std::jthread(receive, blocked_);
}

void StopSignal::heed() {
  struct sigaction action {};
  action.sa_handler = pass_to_main_thread;
  action.sa_flags = SA_RESTART;
  if (is_heeded_.exchange(true)) return;
  for (const int signal : kSignals)
    if (sigismember(&blocked_, signal) == 1) sigaction(signal, &action, nullptr);
}

StopSignal::~StopSignal() {
  receiver_.request_stop();
  receiver_.join();
  alarm(0);
  sigaction(SIGALRM, &previous_alarm_, nullptr);
  for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &previous_actions_[i], nullptr);
  const timespec no_wait{};
  // What came again within the second was answered; what nobody asked about still does what it does.
  while (signal_ != 0 && sigtimedwait(&blocked_, nullptr, &no_wait) > 0) {
  }
  pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
}

bool StopSignal::requested() {
  if (signal_ != 0) return true;
  if (!is_heeded_ || std::this_thread::get_id() != main_thread_) return false;
  const timespec no_wait{};
  const int received = sigtimedwait(&blocked_, nullptr, &no_wait);
  if (received <= 0) return false;
  signal_ = received;
  alarm(kSecondsUntilTheNextEnds);  // it may have come to this thread and no handler
  return true;
}

}  // namespace megalith
