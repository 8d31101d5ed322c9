#include "megalith/comm/flight_record.h"

#include <algorithm>

#include "megalith/base/text.h"

namespace megalith {

FlightRecord::FlightRecord(int num_ranks, int first_rank)
    : first_rank_(first_rank),
      num_ranks_(num_ranks),
      pages_(std::make_unique<Page[]>(static_cast<size_t>(num_ranks))) {}

void FlightRecord::start(int rank, const Label& group, int64_t number, const CollectiveCall& call) {
  Page& page = page_of(rank);
  const std::lock_guard lock(page.mutex);
  page.entries[page.num_started++ % kKept] = {group, number, call, Clock::now(), false};
}

void FlightRecord::finish(int rank) {
  Page& page = page_of(rank);
  const std::lock_guard lock(page.mutex);
  page.entries[(page.num_started - 1) % kKept].is_finished = true;
}

void FlightRecord::leave(int rank) {
  Page& page = page_of(rank);
  const std::lock_guard lock(page.mutex);
  page.has_left = true;
}

bool FlightRecord::has_left(int rank) const {
  const Page& page = page_of(rank);
  const std::lock_guard lock(page.mutex);
  return page.has_left;
}

bool FlightRecord::has_entries(int rank) const {
  const Page& page = page_of(rank);
  const std::lock_guard lock(page.mutex);
  return page.num_started > 0;
}

std::string FlightRecord::report_of(int rank) const {
  const auto now = Clock::now();
  const Page& page = page_of(rank);
  const std::lock_guard lock(page.mutex);
  std::string text = fmt::format("rank {}:", rank);
  if (page.has_left) text += " has finished;";
  if (page.num_started == 0) text += " no operation yet";
  for (int64_t i = page.num_started - 1; i >= std::max<int64_t>(0, page.num_started - kKept); --i) {
    const Entry& entry = page.entries[i % kKept];
    text += fmt::format(" {} of '{}' {}", entry.number, entry.group.str(), describe(entry.call));
    if (!entry.is_finished) {
      const double seconds = std::chrono::duration<double>(now - entry.started).count();
      text += fmt::format(" (waiting for {})", human_duration(seconds));
    }
    text += ";";
  }
  if (text.back() == ';') text.pop_back();
  return text;
}

std::string FlightRecord::report() const {
  std::string text;
  for (int i = 0; i < num_ranks_; ++i) text += (i == 0 ? "" : "\n") + report_of(first_rank_ + i);
  return text;
}

}  // namespace megalith
