#pragma once
// defines: Attendance

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace megalith {

/// Which ranks have come to the meeting place, and when to say that some have not: a job whose last node does
/// not start would otherwise stand without a word until its time-out.
class Attendance {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kFirstNotice{5}, kNextNotice{30};

  explicit Attendance(int num_ranks, Clock::time_point begin = Clock::now());

  void comes(int rank);
  /// "1, 5 to 7"; empty when all have come.
  std::string missing() const;
  /// What is to be said at `now`, if anything: who is missing, 5 s after the begin and every 30 s from then
  /// on, and after such a notice once that all are there.
  std::optional<std::string> notice(Clock::time_point now);

 private:
  Clock::time_point begin_, next_notice_;
  std::vector<bool> has_come_;
  int num_missing_;
  bool has_told_ = false;
};

}  // namespace megalith
