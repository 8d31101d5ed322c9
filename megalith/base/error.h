#pragma once
// defines: Error, UsageError, MG_CHECK, MG_FAIL, MG_ASSERT

#include <stdexcept>
#include <string>

#include <fmt/format.h>

namespace megalith {

/// What a caller or a user did wrong, or what the machine refused: the message names the file, key or value
/// and what is allowed. The program prints it and exits with status 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A wrong command line or recipe. The program prints it and exits with status 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace megalith

/// For what comes from outside the function: throws Error with the formatted message.
#define MG_CHECK(condition, ...)     \
  do {                               \
    if (!(condition)) [[unlikely]]   \
      ::megalith::fail(__VA_ARGS__); \
  } while (0)

/// For our own invariants: stops with the condition and the place. Kept in release builds.
#define MG_ASSERT(condition)                                        \
  do {                                                              \
    if (!(condition)) [[unlikely]]                                  \
      ::megalith::assertion_failed(#condition, __FILE__, __LINE__); \
  } while (0)
