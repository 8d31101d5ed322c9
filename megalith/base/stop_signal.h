#pragma once
// defines: StopSignal

#include <array>
#include <atomic>
#include <csignal>
#include <thread>

namespace megalith {

/// Turns SIGINT, SIGTERM and SIGHUP (a closed terminal; not where it is ignored, as under nohup) into a
/// question that a long job asks between two pieces of work. Make it and ask it in the main thread: the
/// signals are blocked there and in every thread started after it, and other threads pass them on. Another
/// thread that asks is told what the main thread has seen.
///
/// A second signal ends the process at once, also when nobody has asked yet: a piece of work may be long. One
/// that comes within a second of the first counts as the same, for `timeout` and launchers send two.
class StopSignal {
 public:
  /// Without `is_heeded` a signal ends the process at once until heed() is called: while a job waits for its
  /// peers or builds its model there is nothing to save.
  explicit StopSignal(bool is_heeded = true);
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// From any thread, any number of times.
  void heed();
  /// True once a signal has come. Cheap: one system call until then, none after.
  bool requested();
  /// The signal that came, 0 before.
  int signal() const { return signal_; }

 private:
  sigset_t blocked_{};
  sigset_t previous_{};
  std::array<struct sigaction, 3> previous_actions_{};
  struct sigaction previous_alarm_ {};
  std::thread::id main_thread_ = std::this_thread::get_id();
  std::atomic<int> signal_{0};
  std::atomic<bool> is_heeded_{false};
  std::jthread receiver_;  ///< does not block the signals, so that one always reaches a handler
};

}  // namespace megalith
