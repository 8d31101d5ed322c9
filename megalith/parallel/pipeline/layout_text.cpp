#include "megalith/parallel/pipeline/layout_text.h"

#include <cctype>

#include "megalith/base/error.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {

constexpr size_t kLongestLayout = 100'000;  // letters once written out
constexpr int kDeepestNesting = 16;

class LayoutReader {
 public:
  explicit LayoutReader(std::string_view text) : text_(text) {}

  std::string read() {
    const std::string letters = read_sequence(0);
    if (place_ < text_.size()) refuse("the ) has no (");
    return letters;
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw UsageError(
        fmt::format("pipeline_model_parallel_layout '{}', column {}: {}", text_, place_ + 1, why));
  }

  // Up to the end of the text or the closing bracket, which is left.
  std::string read_sequence(int depth) {
    std::string letters;
    for (skip_blanks(); place_ < text_.size() && text_[place_] != ')'; skip_blanks()) {
      const std::string part = read_part(depth);
      skip_blanks();
      const size_t count = place_ < text_.size() && text_[place_] == '*' ? read_count() : 1;
      if (letters.size() + count * part.size() > kLongestLayout)
        refuse(fmt::format("the layout is longer than {} letters", kLongestLayout));
      for (size_t i = 0; i < count; ++i) letters += part;
    }
    return letters;
  }

  std::string read_part(int depth) {
    const char letter = text_[place_];
    if (letter == '(') {
      if (depth == kDeepestNesting) refuse("brackets are nested too deeply");
      ++place_;
      std::string letters = read_sequence(depth + 1);
      if (place_ == text_.size()) refuse("a ) is missing");
      ++place_;
      return letters;
    }
    if (std::string_view("EtmL|").find(letter) == std::string_view::npos)
      refuse(fmt::format("'{}' is not one of E, t, m, L, |, (, ), * with a number", letter));
    ++place_;
    return {letter};
  }

  size_t read_count() {
    ++place_;  // the star
    skip_blanks();
    size_t count = 0;
    const size_t begin = place_;
    while (place_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[place_])) != 0) {
      count = count * 10 + static_cast<size_t>(text_[place_] - '0');
      if (count > kLongestLayout) refuse(fmt::format("repeats at most {} times", kLongestLayout));
      ++place_;
    }
    if (place_ == begin || count == 0) refuse("a number of at least 1 follows *");
    return count;
  }

  void skip_blanks() {
    while (place_ < text_.size() && (text_[place_] == ' ' || text_[place_] == ',')) ++place_;
  }

  std::string_view text_;
  size_t place_ = 0;
};

}  // namespace

std::vector<std::string> expand_layout(std::string_view layout) {
  return split(LayoutReader(layout).read(), '|');
}

}  // namespace megalith
