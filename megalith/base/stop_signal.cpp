#include "megalith/base/stop_signal.h"

#include <ctime>

#include <pthread.h>

namespace megalith {

StopSignal::StopSignal() {
  sigemptyset(&blocked_);
  sigaddset(&blocked_, SIGINT);
  sigaddset(&blocked_, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked_, &previous_);
}

StopSignal::~StopSignal() {
  pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
}

bool StopSignal::requested() {
  if (signal_ != 0) return true;
  const timespec no_wait{};
  const int received = sigtimedwait(&blocked_, nullptr, &no_wait);
  if (received <= 0) return false;
  signal_ = received;
  pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
  return true;
}

}  // namespace megalith
