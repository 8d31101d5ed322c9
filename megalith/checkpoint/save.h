#pragma once
// defines: NamedTensor, CheckpointContents, KeepLast, save_checkpoint

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "megalith/checkpoint/tensor_piece.h"
#include "megalith/comm/communicator.h"

namespace megalith {

struct NamedTensor {
  std::string name;
  Tensor tensor;                          ///< contiguous
  std::optional<TensorPiece> piece = {};  ///< what it is of the whole; none: all of it
  std::span<const std::byte> copy = {};   ///< its bytes on the host; empty: the tensor's own are written
};

struct CheckpointContents {
  int64_t iteration = 0;
  std::string config_yaml;                   ///< the effective recipe; UTF-8
  std::map<std::string, std::string> state;  ///< what the training loop needs to go on; UTF-8
  std::vector<NamedTensor> model;            ///< by Megatron's names; of this rank
  std::vector<NamedTensor> optimizer;        ///< by "KIND.PARAMETER"; may be empty
  std::filesystem::path tokenizer;           ///< a tokenizer.json to keep with the weights; may be empty
};

/// How many checkpoints a directory keeps: the newest up to the one just saved; 0 keeps all. Those of later
/// iterations, from a run that was rolled back, are left alone.
struct KeepLast {
  int64_t count = 0;
};

/// Saves under `root` (layout.h), which is made when absent. The checkpoint is written aside, flushed to the
/// disk and published by one rename, then the latest file is replaced: a process killed at any moment leaves
/// the previous checkpoint as it was. An iteration that is there already is replaced. What killed saves left
/// behind is removed. A failed save (full disk, no permission) throws Error naming the file and leaves
/// nothing. One run at a time may save under a root.
std::filesystem::path save_checkpoint(const std::filesystem::path& root, const CheckpointContents& contents,
                                      KeepLast keep = {});
/// Collective: each rank writes its own pieces at the same time as the others, rank 0 the rest. The ranks
/// share the file system. When one fails, all throw, and nothing is published.
std::filesystem::path save_checkpoint(const std::filesystem::path& root, const CheckpointContents& contents,
                                      KeepLast keep, Communicator& world);

}  // namespace megalith
