#pragma once
// defines: AsyncSaver

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <thread>

#include "megalith/checkpoint/checkpoint_writer.h"
#include "megalith/core/exec.h"

namespace megalith {

class CudaSnapshot;

/// Saves beside training: start() has the tensors copied to host memory, a thread of the rank writes the
/// copies, and finish() publishes when all ranks have written. On a GPU a copy engine makes the copies while
/// the next step computes, and before_update() keeps that step's update waiting for them; on a CPU they are
/// made at once. What is on the disk at any moment is as with save_checkpoint(): a killed process leaves the
/// previous checkpoint as it was.
///
/// Host memory: once the bytes of this rank's tensors, pinned for a GPU, kept from save to save. To pin it
/// takes seconds for tens of GiB: prepare() has that done beside the steps before the first save.
class AsyncSaver {
 public:
  AsyncSaver() = default;
  ~AsyncSaver();
  AsyncSaver(const AsyncSaver&) = delete;
  AsyncSaver& operator=(const AsyncSaver&) = delete;

  /// Of what start() will get; returns at once.
  void prepare(CheckpointContents contents, Exec& exec);
  /// Collective. No other save may be pending.
  void start(const std::filesystem::path& root, CheckpointContents contents, KeepLast keep,
             Communicator& world, Exec& exec);
  /// To be called before the tensors change.
  void before_update(Exec& exec) const;
  bool is_pending() const { return writer_.has_value(); }
  /// Whether this rank's thread is done, well or not.
  bool is_written() const { return is_written_; }
  /// Collective; waits for all ranks' threads. Returns the checkpoint's directory, or throws as
  /// save_checkpoint() does; then nothing is pending.
  std::filesystem::path finish(Communicator& world);

 private:
  void make_snapshot(Exec& exec);
  void take_copies(CheckpointContents& contents, Exec& exec);
  void wait_for_copies() const;

  std::vector<std::byte> copies_;           // on a CPU
  std::shared_ptr<CudaSnapshot> snapshot_;  // on a GPU
  std::optional<CheckpointWriter> writer_;
  std::thread thread_;
  std::atomic<bool> is_written_ = false;
  std::exception_ptr error_;  // of the thread, after it has been joined
};

}  // namespace megalith
