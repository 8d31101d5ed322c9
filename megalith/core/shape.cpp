#include "megalith/core/shape.h"

#include <fmt/ranges.h>

namespace megalith {

std::string Shape::str() const {
  return fmt::format("[{}]", fmt::join(begin(), end(), ", "));
}

}  // namespace megalith
