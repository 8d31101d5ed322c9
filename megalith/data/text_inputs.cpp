#include "megalith/data/text_inputs.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kUnitBytes = 256 << 10;

bool is_json_lines(const fs::path& path) {
  return path.extension() == ".jsonl" || path.extension() == ".json";
}

}  // namespace

TextInputs::TextInputs(const TextInputOptions& options) {
  if (options.inputs.empty()) throw UsageError("no input: give files or directories");
  for (const std::string& input : options.inputs) {
    std::error_code error;
    const fs::file_status status = fs::status(input, error);
    MG_CHECK(fs::exists(status), "{}: cannot be read: {}", input, system_message(ENOENT));
    if (fs::is_directory(status)) {
      add_directory(input, options);
      continue;
    }
    const auto bytes = fs::is_regular_file(status) ? static_cast<int64_t>(fs::file_size(input)) : 0;
    files_.push_back({input, bytes, options.json_lines || is_json_lines(input)});
  }
  if (files_.empty()) {
    throw UsageError(
        fmt::format("no file in {}{}", join(options.inputs, ", "),
                    options.extensions.empty() ? "" : " ends in " + join(options.extensions, ", ")));
  }
  for (const File& file : files_) total_bytes_ += file.bytes;
}

void TextInputs::add_directory(const fs::path& directory, const TextInputOptions& options) {
  std::vector<File> found;
  std::error_code error;
  fs::recursive_directory_iterator entry(directory, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (!entry->is_regular_file(error)) continue;
    const std::string name = entry->path().filename().string();
    const bool wanted = options.extensions.empty() ||
                        std::any_of(options.extensions.begin(), options.extensions.end(),
                                    [&](const std::string& extension) { return name.ends_with(extension); });
    if (!wanted) continue;
    found.push_back({entry->path(), static_cast<int64_t>(entry->file_size(error)),
                     options.json_lines || is_json_lines(entry->path())});
  }
  MG_CHECK(!error, "{}: cannot be searched: {}", directory.string(), error.message());
  std::sort(found.begin(), found.end(), [](const File& a, const File& b) { return a.path < b.path; });
  files_.insert(files_.end(), found.begin(), found.end());
}

TextUnit TextInputs::next_json_unit() {
  const File& file = files_[next_file_];
  if (!stream_.is_open()) {
    stream_.open(file.path);
    MG_CHECK(stream_.is_open(), "{}: cannot be read: {}", file.path.string(), system_message(errno));
    next_line_ = 1;
  }
  TextUnit unit{.json_file = file.path, .first_line = next_line_};
  std::string line;
  while (static_cast<int64_t>(unit.json_lines.size()) < kUnitBytes && std::getline(stream_, line)) {
    unit.json_lines += line;
    unit.json_lines += '\n';
    unit.bytes +=
        static_cast<int64_t>(line.size()) + (stream_.eof() ? 0 : 1);  // the last line may lack its end
    ++next_line_;
  }
  MG_CHECK(!stream_.bad(), "{}: reading failed: {}", file.path.string(), system_message(errno));
  if (stream_.eof()) {
    stream_ = std::ifstream();
    ++next_file_;
  }
  return unit;
}

std::optional<TextUnit> TextInputs::next() {
  if (next_file_ == files_.size()) return std::nullopt;
  if (files_[next_file_].json_lines) return next_json_unit();
  TextUnit unit;
  while (next_file_ < files_.size() && !files_[next_file_].json_lines && unit.bytes < kUnitBytes) {
    unit.files.push_back(files_[next_file_].path);
    unit.bytes += files_[next_file_].bytes;
    ++next_file_;
  }
  return unit;
}

}  // namespace megalith
