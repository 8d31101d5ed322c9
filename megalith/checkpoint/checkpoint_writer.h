#pragma once
// defines: SavingRank, CheckpointWriter

#include "megalith/checkpoint/manifest.h"
#include "megalith/checkpoint/save.h"

namespace megalith {

struct SavingRank {
  int rank = 0, num_ranks = 1;
};

/// The phases of a save (save.h) on one rank. Between two of them all ranks wait for each other; how they do
/// is the caller's. Errors of the file system throw Error.
class CheckpointWriter {
 public:
  CheckpointWriter(const std::filesystem::path& root, CheckpointContents contents, KeepLast keep,
                   SavingRank place);

  /// Rank 0: makes the directory aside, and removes what killed saves left.
  void open() const;
  /// Every rank: its pieces.
  void write();
  /// Rank 0: the manifest; the directory gets its name; old checkpoints go.
  std::filesystem::path publish() const;

  std::filesystem::path directory() const;
  /// Removes what this rank wrote and throws Error with the reason. The directory stays while its peers, who
  /// do not know yet, may still write there: that it is gone must not become the first error.
  [[noreturn]] void fail_with(const std::exception& error) const;
  /// Where a peer failed: removes what this rank wrote, and the directory if nothing is left in it.
  void give_up() const;

 private:
  void complete() const;  ///< the manifest, and the name
  void remove_own() const;

  std::filesystem::path root_, aside_;
  CheckpointContents contents_;
  KeepLast keep_;
  SavingRank place_;
  std::map<std::string, StoredFile> files_;
};

}  // namespace megalith
