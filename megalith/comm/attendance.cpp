#include "megalith/comm/attendance.h"

#include <fmt/format.h>

#include "megalith/base/text.h"

namespace megalith {

Attendance::Attendance(int num_ranks, Clock::time_point begin)
    : begin_(begin),
      next_notice_(begin + kFirstNotice),
      has_come_(static_cast<size_t>(num_ranks)),
      num_missing_(num_ranks) {}

void Attendance::comes(int rank) {
  const auto place = static_cast<size_t>(rank);
  if (!has_come_[place]) --num_missing_;
  has_come_[place] = true;
}

std::string Attendance::missing() const {
  std::vector<std::string> ranges;
  const size_t num_ranks = has_come_.size();
  for (size_t first = 0; first < num_ranks; ++first) {
    if (has_come_[first]) continue;
    size_t last = first;
    while (last + 1 < num_ranks && !has_come_[last + 1]) ++last;
    ranges.push_back(first == last ? fmt::format("{}", first)
                                   : fmt::format("{} {} {}", first, last == first + 1 ? "and" : "to", last));
    first = last;
  }
  return join(ranges, ", ");
}

std::optional<std::string> Attendance::notice(Clock::time_point now) {
  const std::string waited = human_duration(std::chrono::duration<double>(now - begin_).count());
  if (num_missing_ == 0) {
    if (!has_told_) return {};
    has_told_ = false;
    return fmt::format("all {} ranks are here after {}", has_come_.size(), waited);
  }
  if (now < next_notice_) return {};
  next_notice_ = now + kNextNotice;
  has_told_ = true;
  return fmt::format("{} of {} ranks have not come after {}: {}", num_missing_, has_come_.size(), waited,
                     missing());
}

}  // namespace megalith
