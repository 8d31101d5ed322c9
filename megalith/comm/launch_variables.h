#pragma once
// defines: number_from, text_from

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "megalith/base/error.h"

namespace megalith {

/// An environment variable; empty where it is not set.
inline std::string_view text_from(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? std::string_view() : std::string_view(text);
}

/// The number that a launcher set; nothing where the variable is not set. Throws Error naming it where it is
/// none, or negative.
inline std::optional<int> number_from(const char* name) {
  if (std::getenv(name) == nullptr) return std::nullopt;
  const std::string_view view = text_from(name);
  int value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  MG_CHECK(error == std::errc() && end == view.data() + view.size() && value >= 0,
           "the environment variable {} is '{}'; a launcher sets it to a number", name, view);
  return value;
}

}  // namespace megalith
