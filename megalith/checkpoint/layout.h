#pragma once
// defines: kModelFile, kOptimizerFile, kManifestFile, kTokenizerFile, kLatestFile, RankFiles, rank_files,
//          iteration_directory, saved_iterations, latest_iteration

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace megalith {

/// Where a run's checkpoints lie:
///
///     ROOT/latest_checkpointed_iteration.txt    "100", as Megatron writes it
///     ROOT/iter_0000100/model.safetensors       parameters in the model's dtype, by Megatron's names
///     ROOT/iter_0000100/optimizer.safetensors   f32, by "KIND.PARAMETER"
///     ROOT/iter_0000100/tokenizer.json          when the run has one
///     ROOT/iter_0000100/manifest.json           written last: sizes and checksums of the others, config,
///     state ROOT/.iter_0000100.tmp                    a save under way, or one that was killed
/// With several ranks, rank R writes model_R.safetensors, optimizer_R.safetensors and shards_R.json (five
/// digits) with its pieces of the tensors (shard_list.h); every element of the model is in one of them.
inline constexpr const char* kModelFile = "model.safetensors";
inline constexpr const char* kOptimizerFile = "optimizer.safetensors";
inline constexpr const char* kManifestFile = "manifest.json";
inline constexpr const char* kTokenizerFile = "tokenizer.json";
inline constexpr const char* kLatestFile = "latest_checkpointed_iteration.txt";

struct RankFiles {
  std::string model, optimizer;
  std::string shards;  ///< empty for a single rank, whose tensors are whole
};
RankFiles rank_files(int rank, int num_ranks);

/// "iter_0000100"
std::string iteration_directory(int64_t iteration);

/// Iterations with a published directory under `root`, ascending.
std::vector<int64_t> saved_iterations(const std::filesystem::path& root);

/// What the latest file says, or, where a first save was killed before it wrote the file, the newest
/// directory; empty when there is neither. A file that holds no iteration throws Error.
std::optional<int64_t> latest_iteration(const std::filesystem::path& root);

}  // namespace megalith
