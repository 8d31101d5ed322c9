#pragma once
// defines: StopSignal

#include <atomic>
#include <csignal>
#include <thread>

namespace megalith {

/// Turns SIGINT and SIGTERM into a question that a long job asks between two pieces of work. Make it and ask
/// it in the main thread: the signals are blocked there and in every thread started after it, and threads
/// that were there before (a library's) pass them on. Another thread that asks is told what the main thread
/// has seen. After the first signal everything is as before this object: a second Ctrl-C ends the process at
/// once.
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
  void restore();

  sigset_t blocked_{};
  sigset_t previous_{};
  struct sigaction previous_interrupt_ {};
  struct sigaction previous_terminate_ {};
  std::thread::id main_thread_ = std::this_thread::get_id();
  std::atomic<int> signal_{0};
};

}  // namespace megalith
