#pragma once
// defines: MemoryLedger, OwnerScope

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace megalith {

/// Who holds how much memory of one device, now and at the peak. Every block that is taken is booked under
/// the owner that was in scope ("parameters", "activations", ...), so that a report or an out-of-memory error
/// can name them.
class MemoryLedger {
 public:
  struct Entry {
    std::string owner;
    int64_t bytes = 0;
    int64_t bytes_at_peak = 0;  ///< what this owner held when the total was largest
  };

  /// Bytes that may be booked in all; 0 means no limit of our own.
  explicit MemoryLedger(int64_t limit_bytes = 0) : limit_bytes_(limit_bytes) {}

  /// Throws Error with the owners when the limit would be passed. Returns the owner's id for release().
  int take(int64_t bytes);
  void release(int owner_id, int64_t bytes);

  int64_t current_bytes() const;
  int64_t peak_bytes() const;
  void reset_peak();
  /// Largest at the peak first.
  std::vector<Entry> entries() const;
  /// Entries as lines "owner  1.25 GiB", for logs and errors.
  std::string report() const;

 private:
  friend class OwnerScope;
  int enter(const std::string& owner);
  std::string report_locked() const;

  mutable std::mutex mutex_;
  std::vector<Entry> entries_{{"other"}};
  std::map<std::string, int> ids_{{"other", 0}};
  int current_owner_ = 0;
  int64_t current_bytes_ = 0;
  int64_t peak_bytes_ = 0;
  int64_t limit_bytes_;
};

/// While it lives, what is taken from the ledger's device belongs to `owner`; an inner scope wins over an
/// outer one.
class OwnerScope {
 public:
  OwnerScope(MemoryLedger& ledger, const std::string& owner)
      : ledger_(&ledger), previous_(ledger.enter(owner)) {}
  ~OwnerScope();
  OwnerScope(const OwnerScope&) = delete;
  OwnerScope& operator=(const OwnerScope&) = delete;

 private:
  MemoryLedger* ledger_;
  int previous_;
};

}  // namespace megalith
