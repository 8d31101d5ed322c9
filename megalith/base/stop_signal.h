#pragma once
// defines: StopSignal

#include <csignal>

namespace megalith {

/// Turns SIGINT and SIGTERM into a question that a long job asks between two pieces of work. The signals are
/// blocked in the thread that makes this object and in every thread started after it, so make it before any
/// thread. After the first signal they are let through again: a second Ctrl-C ends the process at once.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// True once a signal has come. Cheap: one system call until then, none after.
  bool requested();
  /// The signal that came, 0 before.
  int signal() const { return signal_; }

 private:
  sigset_t blocked_{};
  sigset_t previous_{};
  int signal_ = 0;
};

}  // namespace megalith
