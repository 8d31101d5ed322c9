#pragma once
// defines: PreprocessOptions, PreprocessResult, preprocess, declare_fields

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace megalith {

class FieldList;
class Tokenizer;

struct PreprocessOptions {
  std::vector<std::string> input;       ///< files and directories
  std::vector<std::string> extensions;  ///< of files taken from directories, as ".h"; empty: all
  bool json_lines = false;              ///< every file is JSON lines, not only *.jsonl
  std::vector<std::string> json_keys{"text"};
  std::string output_prefix;  ///< files are PREFIX_KEY_document.bin and .idx
  bool append_eod = false;
  bool skip_bad = false;  ///< count and report what cannot be read instead of stopping
  int64_t workers = 0;    ///< threads; 0: as many as the process may use
};

void declare_fields(PreprocessOptions& options, FieldList& fields);

struct PreprocessResult {
  std::vector<std::string> prefixes;  ///< one a key
  int64_t documents = 0;
  int64_t tokens = 0;  ///< over all keys
  int64_t bytes = 0;   ///< of input
  int64_t bad = 0;
  double seconds = 0;
  bool stopped = false;  ///< by `should_stop`: nothing was written
};

/// Tokenises text into Megatron's `.bin/.idx` pairs, one a JSON key, with a progress line. The output is the
/// same for any number of threads, and appears whole or not at all. Text files belong to the first key.
/// `should_stop` is asked between two pieces of work, on the calling thread.
PreprocessResult preprocess(const PreprocessOptions& options, const Tokenizer& tokenizer,
                            const std::function<bool()>& should_stop = {});

}  // namespace megalith
