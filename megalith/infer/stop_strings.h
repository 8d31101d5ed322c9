#pragma once
// defines: StopStrings

#include <string>
#include <string_view>
#include <vector>

namespace megalith {

/// Passes a stream of text on until one of the stop strings has come; the stop string itself is not passed
/// on. Text that may be the beginning of one is held back until that is decided.
class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// The text that is now safe to show.
  std::string push(std::string_view text);
  /// What was held back, at the end of the stream.
  std::string finish();
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace megalith
