#include "megalith/base/error.h"

namespace megalith {

void assertion_failed(const char* condition, const char* file, int line) {
  throw std::logic_error(fmt::format("internal error: {} does not hold ({}:{})", condition, file, line));
}

}  // namespace megalith
