#pragma once
// defines: wrapped_text

#include <cstddef>
#include <string>
#include <string_view>

namespace megalith {

struct WrapOptions {
  size_t width = 80;  ///< columns of a line; a longer word has a line of its own
  size_t indent = 0;  ///< blanks before every line but the first, which begins behind as many columns
};

/// The words of a text, broken into lines. No newline at the end.
std::string wrapped_text(std::string_view text, const WrapOptions& options);

}  // namespace megalith
