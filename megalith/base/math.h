#pragma once
// defines: ceil_div, round_up, narrow

#include <concepts>
#include <utility>

#include "megalith/base/error.h"

namespace megalith {

template <std::integral T>
constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

template <std::integral T>
constexpr T round_up(T a, T multiple) {
  return ceil_div(a, multiple) * multiple;
}

/// An integer conversion that fails when the value does not fit.
template <std::integral To, std::integral From>
constexpr To narrow(From value) {
  MG_CHECK(std::in_range<To>(value), "the value {} does not fit its {}-bit type", value, sizeof(To) * 8);
  return static_cast<To>(value);
}

}  // namespace megalith
