#pragma once
// defines: input_files

#include <filesystem>
#include <string>
#include <vector>

namespace megalith {

/// The files that a user names: a file stands for itself, a directory for the regular files under it whose
/// name ends in one of `extensions` (".cpp"; all when empty), in the order of their paths. Hidden files and
/// directories under it are left out. Throws Error for a path that does not exist and when no file is left.
std::vector<std::filesystem::path> input_files(const std::vector<std::string>& inputs,
                                               const std::vector<std::string>& extensions);

}  // namespace megalith
