#pragma once
// defines: OffloadOptions, HostCopies, SegmentOffload

#include <cstdint>
#include <memory>
#include <vector>

#include "megalith/core/exec.h"

namespace megalith {

class CudaCopyStream;

struct OffloadOptions {
  int64_t num_segments = 0;       ///< the first ones of a tape
  int64_t min_bytes = 256 << 10;  ///< smaller tensors stay
};

/// Pinned host memory of a rank and the two streams that copy there and back; outlives the tapes that use it.
/// On a CPU the same, by copies of the processor: for tests.
class HostCopies {
 public:
  explicit HostCopies(Exec& exec);
  ~HostCopies();
  HostCopies(const HostCopies&) = delete;
  HostCopies& operator=(const HostCopies&) = delete;

  enum class Direction { kToHost, kFromHost };
  /// Copies asked for next begin behind the work of the device so far.
  void follow(Direction direction);
  void copy(Direction direction, std::byte* to, const std::byte* from, int64_t bytes);
  /// A place behind these copies, for one hold_back(); null on a CPU.
  CUevent_st* mark(Direction direction);
  /// The device's work from now on begins behind it.
  void hold_back(Direction direction, CUevent_st* mark);

  Pool& pool() { return pool_; }
  const MemoryLedger& ledger() const { return ledger_; }

 private:
  CudaCopyStream& stream(Direction direction) const { return *streams_[static_cast<size_t>(direction)]; }

  MemoryLedger ledger_;
  Pool pool_;
  std::shared_ptr<CudaCopyStream> streams_[2];  // null on a CPU
};

/// Keeps what the first segments of a tape saved for their backward on the host between their forward and
/// their backward. The tensors stay what they are, with another block behind them: nodes know nothing of it,
/// and no number changes.
///
/// A segment's copies begin behind its forward. Of N in L segments each has (L - 1) / N forwards to be
/// copied: the memory of number i is given back behind segment max(i + 1, ceil((i + 1) (L - 1) / N) - 1), so
/// that the device waits for the copies as late as it can and has none of the N in the last segment. In the
/// backward, number i comes back from segment max(i + 1, L - 2 - N + i) on: one for each segment that is done
/// and free, but for the last, so that the backward holds no more than the end of the forward did.
class SegmentOffload {
 public:
  /// Of one tape, whose forward has `num_segments` segments in all.
  SegmentOffload(HostCopies& copies, const OffloadOptions& options, int64_t num_segments, Exec& exec);
  ~SegmentOffload();
  SegmentOffload(const SegmentOffload&) = delete;
  SegmentOffload& operator=(const SegmentOffload&) = delete;

  /// Around the forward of a segment. Tensors that it returns belong to the next one, which reads them.
  void begin_segment(const std::vector<Tensor>& inputs);
  /// The segment's number.
  int64_t end_segment(const std::vector<Tensor>& outputs);
  /// In the order of the backward, before that of the segment.
  void before_backward(int64_t segment);

 private:
  struct Moved {
    std::weak_ptr<Storage> storage;
    Block on_host;
  };
  enum class State { kCopying, kOnHost, kReturning, kDone };
  struct Group {
    std::vector<Moved> tensors;
    CUevent_st* copied = nullptr;
    State state = State::kCopying;
  };

  void copy_out(const std::vector<Tensor>& outputs);
  void give_back_memory(Group& group);
  void copy_back(Group& group);
  void finish(Group& group);

  HostCopies* copies_;
  OffloadOptions options_;
  int64_t num_segments_;
  Exec* exec_;
  StorageList made_;
  StorageList* outer_list_ = nullptr;
  bool is_listing_ = false;
  std::vector<Group> groups_;  // by segment
  int64_t num_begun_ = 0;
};

}  // namespace megalith
