#include "megalith/core/memory/ledger.h"

#include <algorithm>
#include <utility>

#include "megalith/base/error.h"
#include "megalith/base/text.h"
#include "megalith/core/memory/out_of_memory.h"

namespace megalith {

int MemoryLedger::take(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[static_cast<size_t>(current_owner_)];
  if (limit_bytes_ > 0 && current_bytes_ + bytes > limit_bytes_) {
    throw OutOfMemory(fmt::format("out of memory: {} for '{}' do not fit; {} of {} are in use:\n{}",
                                  human_bytes(static_cast<double>(bytes)), entry.owner,
                                  human_bytes(static_cast<double>(current_bytes_)),
                                  human_bytes(static_cast<double>(limit_bytes_)), report_locked()),
                      {.asked = bytes, .limit = limit_bytes_});
  }
  entry.bytes += bytes;
  current_bytes_ += bytes;
  if (current_bytes_ > peak_bytes_) {
    peak_bytes_ = current_bytes_;
    for (Entry& each : entries_) each.bytes_at_peak = each.bytes;
  }
  return current_owner_;
}

void MemoryLedger::release(int owner_id, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  entries_[static_cast<size_t>(owner_id)].bytes -= bytes;
  current_bytes_ -= bytes;
}

int64_t MemoryLedger::current_bytes() const {
  const std::lock_guard lock(mutex_);
  return current_bytes_;
}

int64_t MemoryLedger::peak_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_bytes_;
}

void MemoryLedger::reset_peak() {
  const std::lock_guard lock(mutex_);
  peak_bytes_ = current_bytes_;
  for (Entry& each : entries_) each.bytes_at_peak = each.bytes;
}

std::vector<MemoryLedger::Entry> MemoryLedger::entries() const {
  const std::lock_guard lock(mutex_);
  std::vector<Entry> sorted = entries_;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Entry& a, const Entry& b) { return a.bytes_at_peak > b.bytes_at_peak; });
  return sorted;
}

std::string MemoryLedger::report() const {
  const std::lock_guard lock(mutex_);
  return report_locked();
}

std::string MemoryLedger::report_locked() const {
  std::string text;
  for (const Entry& entry : entries_) {
    if (entry.bytes == 0 && entry.bytes_at_peak == 0) continue;
    text += fmt::format("  {:<24} {:>12} now {:>12} at the peak\n", entry.owner,
                        human_bytes(static_cast<double>(entry.bytes)),
                        human_bytes(static_cast<double>(entry.bytes_at_peak)));
  }
  return text;
}

int MemoryLedger::enter(const std::string& owner) {
  const std::lock_guard lock(mutex_);
  const auto [place, is_new] = ids_.try_emplace(owner, static_cast<int>(entries_.size()));
  if (is_new) entries_.push_back({owner});
  return std::exchange(current_owner_, place->second);
}

OwnerScope::~OwnerScope() {
  const std::lock_guard lock(ledger_->mutex_);
  ledger_->current_owner_ = previous_;
}

}  // namespace megalith
