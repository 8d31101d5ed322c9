#pragma once
// defines: TextUnit, TextInputs, TextInputOptions

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace megalith {

struct TextInputOptions {
  /// Files and directories (input_files.h). A file named *.jsonl holds one JSON object a line, any other is
  /// one document.
  std::vector<std::string> inputs;
  /// Only files with these endings (".h") are taken from directories; empty: all.
  std::vector<std::string> extensions;
  /// Treat every file as JSON lines, whatever its name.
  bool json_lines = false;
};

/// A piece of work: whole text files to be read, or lines of one JSON lines file.
struct TextUnit {
  std::vector<std::filesystem::path> files;
  std::filesystem::path json_file;
  std::string json_lines;  ///< whole lines
  int64_t first_line = 0;  ///< of json_lines in json_file, from 1
  int64_t bytes = 0;
};

/// Walks through the inputs in a fixed order and cuts them into units of about a quarter of a megabyte.
class TextInputs {
 public:
  /// Throws UsageError when nothing was given, Error for what is not found or cannot be read.
  explicit TextInputs(const TextInputOptions& options);

  int64_t total_bytes() const { return total_bytes_; }
  int64_t num_files() const { return static_cast<int64_t>(files_.size()); }
  std::optional<TextUnit> next();

 private:
  struct File {
    std::filesystem::path path;
    int64_t bytes = 0;
    bool json_lines = false;
  };
  TextUnit next_json_unit();

  std::vector<File> files_;
  int64_t total_bytes_ = 0;
  size_t next_file_ = 0;
  std::ifstream stream_;  // the JSON lines file being read
  int64_t next_line_ = 0;
};

}  // namespace megalith
