#pragma once
// defines: FlightRecord

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "megalith/comm/collective.h"

namespace megalith {

/// The last operations of every rank, kept to be shown when a group hangs or falls apart. Each rank writes
/// its own page; any thread may ask for the report.
class FlightRecord {
 public:
  static constexpr int kKept = 6;  ///< operations a rank

  explicit FlightRecord(int num_ranks, int first_rank = 0);

  void start(int rank, const Label& group, int64_t number, const CollectiveCall& call);
  /// Ends the operation that the rank started last.
  void finish(int rank);
  /// The rank has nothing more to do.
  void leave(int rank);
  bool has_left(int rank) const;

  /// A line for each rank, newest operation first:
  /// "rank 0: 17 of 'world' all_reduce sum f32[8] (waiting for 3s); 16 of 'world' barrier; ..."
  std::string report() const;
  /// Whether the rank started any operation.
  bool has_entries(int rank) const;
  /// The line of one rank.
  std::string report_of(int rank) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    Label group;
    int64_t number = 0;
    CollectiveCall call;
    Clock::time_point started;
    bool is_finished = false;
  };
  struct alignas(64) Page {
    mutable std::mutex mutex;
    std::array<Entry, kKept> entries;
    int64_t num_started = 0;
    bool has_left = false;
  };

  Page& page_of(int rank) const { return pages_[static_cast<size_t>(rank - first_rank_)]; }

  int first_rank_;
  int num_ranks_;
  std::unique_ptr<Page[]> pages_;
};

}  // namespace megalith
