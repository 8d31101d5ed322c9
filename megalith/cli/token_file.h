#pragma once
// defines: TokenFile, read_token_file

#include <cstdint>
#include <filesystem>
#include <vector>

namespace megalith {

/// Sequences of one length.
struct TokenFile {
  int64_t batch = 0;         ///< B
  int64_t seq = 0;           ///< S
  std::vector<int32_t> ids;  // [B, S]
};

/// A .npy file of integers, [S] or [B, S], or a text with one sequence a line, ids apart by blanks or commas.
/// Throws Error naming file, line or place, and value for what is not an id below `vocab_size`, and for
/// sequences of different lengths.
TokenFile read_token_file(const std::filesystem::path& path, int64_t vocab_size);

}  // namespace megalith
