#pragma once
// defines: ShardList, to_json, read_shard_list

#include <filesystem>
#include <map>
#include <string>

#include "megalith/checkpoint/manifest.h"
#include "megalith/checkpoint/tensor_piece.h"

namespace megalith {

/// What one rank wrote into a checkpoint: its files, and of each tensor in them the piece of the whole.
struct ShardList {
  std::map<std::string, StoredFile> files;  ///< by name in the checkpoint's directory
  std::map<std::string, std::map<std::string, TensorPiece>> pieces;  ///< by file, by tensor
};

std::string to_json(const ShardList& list);

/// Throws Error naming the file and what is wrong with it.
ShardList read_shard_list(const std::filesystem::path& path);

}  // namespace megalith
