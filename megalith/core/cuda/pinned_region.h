#pragma once
// defines: PinnedRegion

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <thread>

namespace megalith {

/// Host memory that copy engines reach at the links' rate. To find the pages of tens of GiB and pin them
/// takes seconds, so that a thread of its own does it, piece by piece: work that is launched meanwhile waits
/// for no more than a piece. Pieces are pinned one by one: no single copy may cross from one to the next.
class PinnedRegion {
 public:
  static constexpr int64_t kPieceBytes = int64_t{256} << 20;

  /// Begins and returns at once.
  PinnedRegion(int device_index, int64_t bytes);
  /// Stops behind the piece that is being pinned.
  ~PinnedRegion();
  PinnedRegion(const PinnedRegion&) = delete;
  PinnedRegion& operator=(const PinnedRegion&) = delete;

  int64_t size() const { return size_; }
  /// Waits until all of it is pinned; throws Error, naming the size, where the host has too little.
  std::byte* memory();

 private:
  void pin(int device_index);

  int64_t size_;
  std::byte* memory_ = nullptr;
  int64_t pinned_ = 0;  // bytes; of the thread until it has been joined
  std::atomic<bool> is_unwanted_ = false;
  std::exception_ptr error_;  // of the thread, after it has been joined
  std::thread thread_;
};

}  // namespace megalith
