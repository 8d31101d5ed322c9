#include "megalith/base/wrapped_text.h"

#include "megalith/base/text.h"

namespace megalith {

std::string wrapped_text(std::string_view text, const WrapOptions& options) {
  std::string out;
  size_t column = options.indent;
  for (const std::string& word : split(text, ' ')) {
    if (column > options.indent && column + 1 + word.size() > options.width) {
      out += "\n" + std::string(options.indent, ' ');
      column = options.indent;
    }
    if (column > options.indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out;
}

}  // namespace megalith
