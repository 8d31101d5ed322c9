#include "megalith/infer/stop_strings.h"

#include <algorithm>
#include <utility>

namespace megalith {
namespace {

// Length of the longest end of `text` that begins `stop`.
size_t overlap(std::string_view text, std::string_view stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.substr(text.size() - length) == stop.substr(0, length)) return length;
  }
  return 0;
}

}  // namespace

std::string StopStrings::push(std::string_view text) {
  if (found_) return {};
  held_ += text;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    if (!stop.empty()) first = std::min(first, held_.find(stop));
  }
  if (first != std::string::npos) {
    found_ = true;
    std::string safe = held_.substr(0, first);
    held_.clear();
    return safe;
  }
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    if (!stop.empty()) keep = std::max(keep, overlap(held_, stop));
  }
  std::string safe = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return safe;
}

std::string StopStrings::finish() {
  return std::exchange(held_, {});
}

}  // namespace megalith
