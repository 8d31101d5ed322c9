#pragma once
// defines: random_on, expect_same_bits

#include <algorithm>

#include <gtest/gtest.h>

#include "tests/ops/conformance.h"

namespace megalith::conformance {

/// The same values on every device.
inline Tensor random_on(Exec& exec, const Shape& shape, DType dtype, uint64_t seed) {
  Exec cpu({.num_threads = 1});
  const Tensor values = random_tensor(cpu, shape, dtype, seed, Layout::kContiguous);
  const Tensor x = exec.empty(shape, dtype);
  exec.upload({values.raw(), static_cast<size_t>(values.nbytes())}, x);
  return x;
}

inline void expect_same_bits(const Tensor& actual, const Tensor& expected, const char* what) {
  std::vector<std::byte> staging, expected_staging;
  const auto bytes = bytes_on_host(actual, staging), wanted = bytes_on_host(expected, expected_staging);
  ASSERT_EQ(bytes.size(), wanted.size()) << what;
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), wanted.begin())) << what;
}

}  // namespace megalith::conformance
