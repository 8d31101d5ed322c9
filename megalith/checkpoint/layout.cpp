#include "megalith/checkpoint/layout.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <system_error>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {

constexpr std::string_view kPrefix = "iter_";

std::optional<int64_t> parse_iteration(std::string_view digits) {
  int64_t iteration = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), iteration);
  if (error != std::errc() || end != digits.data() + digits.size() || iteration < 0) return std::nullopt;
  return iteration;
}

}  // namespace

RankFiles rank_files(int rank, int num_ranks) {
  if (num_ranks == 1) return {kModelFile, kOptimizerFile, {}};
  return {fmt::format("model_{:05}.safetensors", rank), fmt::format("optimizer_{:05}.safetensors", rank),
          fmt::format("shards_{:05}.json", rank)};
}

std::string iteration_directory(int64_t iteration) {
  return fmt::format("{}{:07}", kPrefix, iteration);
}

std::vector<int64_t> saved_iterations(const std::filesystem::path& root) {
  std::vector<int64_t> iterations;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    const auto iteration = parse_iteration(std::string_view(name).substr(kPrefix.size()));
    std::error_code ignored;
    if (iteration && name == iteration_directory(*iteration) && entry.is_directory(ignored)) {
      iterations.push_back(*iteration);
    }
  }
  std::sort(iterations.begin(), iterations.end());
  return iterations;
}

std::optional<int64_t> latest_iteration(const std::filesystem::path& root) {
  const std::filesystem::path file = root / kLatestFile;
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) {
    const std::vector<int64_t> iterations = saved_iterations(root);
    return iterations.empty() ? std::nullopt : std::optional(iterations.back());
  }
  const std::string text = read_text_file(file);
  const auto iteration = parse_iteration(trim(text));
  if (iteration) return iteration;
  const std::vector<int64_t> iterations = saved_iterations(root);
  fail("{}: holds '{}', not the number of an iteration{}", file.string(), trim(text.substr(0, 40)),
       iterations.empty()
           ? ""
           : fmt::format("; the newest checkpoint beside it is {0}: name that directory to use "
                         "it (--load {0})",
                         (root / iteration_directory(iterations.back())).string()));
}

}  // namespace megalith
