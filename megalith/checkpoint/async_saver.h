#pragma once
// defines: AsyncSaver

#include <atomic>
#include <exception>
#include <optional>
#include <thread>

#include "megalith/checkpoint/checkpoint_writer.h"

namespace megalith {

/// Saves beside training: start() copies the tensors to host memory and returns, a thread of the rank writes
/// them, and finish() publishes when all ranks have written. What is on the disk at any moment is as with
/// save_checkpoint(): a killed process leaves the previous checkpoint as it was.
///
/// Host memory: once the bytes of this rank's tensors, kept from save to save.
class AsyncSaver {
 public:
  AsyncSaver() = default;
  ~AsyncSaver();
  AsyncSaver(const AsyncSaver&) = delete;
  AsyncSaver& operator=(const AsyncSaver&) = delete;

  /// Collective. No other save may be pending.
  void start(const std::filesystem::path& root, CheckpointContents contents, KeepLast keep,
             Communicator& world);
  bool is_pending() const { return writer_.has_value(); }
  /// Whether this rank's thread is done, well or not.
  bool is_written() const { return is_written_; }
  /// Collective; waits for all ranks' threads. Returns the checkpoint's directory, or throws as
  /// save_checkpoint() does; then nothing is pending.
  std::filesystem::path finish(Communicator& world);

 private:
  void take_copies(CheckpointContents& contents);

  std::vector<std::byte> copies_;
  std::optional<CheckpointWriter> writer_;
  std::thread thread_;
  std::atomic<bool> is_written_ = false;
  std::exception_ptr error_;  // of the thread, after it has been joined
};

}  // namespace megalith
