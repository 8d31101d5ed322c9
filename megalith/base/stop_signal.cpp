#include "megalith/base/stop_signal.h"

#include <cerrno>
#include <ctime>

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace megalith {
namespace {

// Runs in a thread that does not block the signal; the main thread, whose id is that of the process, then
// finds it pending.
void pass_to_main_thread(int signal) {
  const int saved_errno = errno;
  syscall(SYS_tgkill, getpid(), getpid(), signal);
  errno = saved_errno;
}

}  // namespace

StopSignal::StopSignal() {
  sigemptyset(&blocked_);
  sigaddset(&blocked_, SIGINT);
  sigaddset(&blocked_, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked_, &previous_);
  struct sigaction action {};
  action.sa_handler = pass_to_main_thread;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, &previous_interrupt_);
  sigaction(SIGTERM, &action, &previous_terminate_);
}

StopSignal::~StopSignal() {
  if (signal_ == 0) restore();
}

void StopSignal::restore() {
  sigaction(SIGINT, &previous_interrupt_, nullptr);
  sigaction(SIGTERM, &previous_terminate_, nullptr);
  pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
}

bool StopSignal::requested() {
  if (signal_ != 0) return true;
  if (std::this_thread::get_id() != main_thread_) return false;
  const timespec no_wait{};
  const int received = sigtimedwait(&blocked_, nullptr, &no_wait);
  if (received <= 0) return false;
  signal_ = received;
  restore();
  return true;
}

}  // namespace megalith
