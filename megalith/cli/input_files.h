#pragma once
// defines: input_files

#include <filesystem>
#include <string>
#include <vector>

namespace megalith {

/// The files named by command line arguments: a file stands for itself, a directory for the regular files
/// under it whose extension is in `extensions` (".cpp"; all when empty), in the order of their paths. Hidden
/// files and directories are left out. Throws Error for a path that does not exist and when no file is left.
std::vector<std::filesystem::path> input_files(const std::vector<std::string>& inputs,
                                               const std::vector<std::string>& extensions);

}  // namespace megalith
