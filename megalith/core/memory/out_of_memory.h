#pragma once
// defines: OutOfMemory

#include <cstdint>
#include <string>

#include "megalith/base/error.h"

namespace megalith {

/// A device has not the memory that was asked of it. The message names the owners of what is in use.
class OutOfMemory : public Error {
 public:
  struct Bytes {
    int64_t asked = 0;
    int64_t limit = 0;  ///< what all blocks could have together
  };
  OutOfMemory(const std::string& message, const Bytes& bytes) : Error(message), bytes_(bytes) {}

  const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

}  // namespace megalith
