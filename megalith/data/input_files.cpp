#include "megalith/data/input_files.h"

#include <algorithm>

#include "megalith/base/error.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {
namespace fs = std::filesystem;

bool is_hidden(const fs::path& path) {
  return path.filename().string().starts_with('.');
}

void add_directory(const fs::path& directory, const std::vector<std::string>& extensions,
                   std::vector<fs::path>& files) {
  std::vector<fs::path> found;
  std::error_code error;
  fs::recursive_directory_iterator entry(directory, error);
  MG_CHECK(!error, "{}: cannot be read: {}", directory.string(), error.message());
  for (; entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (is_hidden(entry->path())) {
      if (entry->is_directory()) entry.disable_recursion_pending();
      continue;
    }
    const std::string name = entry->path().filename().string();
    const bool is_wanted = extensions.empty() || std::any_of(extensions.begin(), extensions.end(),
                                                             [&](const std::string& extension) {
                                                               return name.ends_with(extension);
                                                             });
    if (is_wanted && entry->is_regular_file()) found.push_back(entry->path());
  }
  MG_CHECK(!error, "{}: cannot be read: {}", directory.string(), error.message());
  std::sort(found.begin(), found.end());
  files.insert(files.end(), found.begin(), found.end());
}

}  // namespace

std::vector<fs::path> input_files(const std::vector<std::string>& inputs,
                                  const std::vector<std::string>& extensions) {
  std::vector<fs::path> files;
  for (const std::string& input : inputs) {
    MG_CHECK(fs::exists(input), "{}: there is no such file or directory", input);
    if (fs::is_directory(input)) {
      add_directory(input, extensions, files);
    } else {
      files.emplace_back(input);
    }
  }
  MG_CHECK(!files.empty(), "{}: no file{} was found", join(inputs, " "),
           extensions.empty() ? "" : fmt::format(" with extension {}", join(extensions, " ")));
  return files;
}

}  // namespace megalith
