#include "megalith/data/text_inputs.h"

#include <cerrno>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/data/input_files.h"

namespace megalith {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kUnitBytes = 256 << 10;

}  // namespace

TextInputs::TextInputs(const TextInputOptions& options) {
  if (options.inputs.empty()) throw UsageError("no input: give files or directories");
  for (const fs::path& path : input_files(options.inputs, options.extensions)) {
    const auto bytes = fs::is_regular_file(path) ? static_cast<int64_t>(fs::file_size(path)) : 0;
    files_.push_back({path, bytes, options.json_lines || path.extension() == ".jsonl"});
    total_bytes_ += bytes;
  }
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
