// A cache that grows by a number on the device, and attention over as much of it as there is.

#include "megalith/ops/append_keys.h"

#include <cmath>

#include <gtest/gtest.h>

#include "megalith/ops/attention.h"
#include "megalith/ops/elementwise.h"

#include "tests/ops/conformance.h"

namespace megalith {
namespace {

using namespace conformance;

Tensor number(Exec& exec, int32_t value) {
  return exec.from_host(std::span<const int32_t>(&value, 1), {1});
}

TEST(AppendKeys, WritesAtThePlaceAndNothingElse) {
  Exec exec;
  for (const DType dtype : kFloatTypes) {
    const Tensor k = random_tensor(exec, {2, 3, 2, 5}, dtype, 1),
                 v = random_tensor(exec, {2, 3, 2, 5}, dtype, 2);
    for (const int32_t place : {0, 4, 5, 7}) {
      const Tensor keys = random_tensor(exec, {2, 7, 2, 5}, dtype, 3);
      const Tensor values = random_tensor(exec, {2, 7, 2, 5}, dtype, 4);
      const Tensor expected = random_tensor(exec, {2, 7, 2, 5}, dtype, 3);
      const int64_t end = std::min(place + 3, 7);
      copy(k.slice(1, 0, end - place), expected.slice(1, place, end), exec);
      append_keys({.k = k, .v = v, .place = number(exec, place), .keys = keys, .values = values}, exec);
      EXPECT_EQ(values_of(keys), values_of(expected)) << place;
      EXPECT_EQ(values_of(values.slice(1, place, end)), values_of(v.slice(1, 0, end - place))) << place;
    }
  }
}

TEST(AppendKeys, RefusesWhatDoesNotFitTogether) {
  Exec exec;
  const Tensor k = exec.zeros({1, 1, 2, 4}, DType::kF32), keys = exec.zeros({1, 5, 2, 4}, DType::kF32);
  const Tensor other = exec.zeros({1, 5, 3, 4}, DType::kF32);
  EXPECT_THROW(append_keys({.k = k, .v = k, .place = number(exec, -1), .keys = keys, .values = keys}, exec),
               Error);
  EXPECT_THROW(append_keys({.k = k, .v = k, .place = number(exec, 0), .keys = keys, .values = other}, exec),
               Error);
  EXPECT_THROW(append_keys({.k = k, .v = k, .place = k, .keys = keys, .values = keys}, exec), Error);
}

TEST(Attention, SeesAsManyKeysAsThereAre) {
  Exec exec;
  for (const DType dtype : kFloatTypes) {
    constexpr int64_t kLength = 40, kHeads = 4, kGroups = 2, kDim = 8;
    const Tensor k = random_tensor(exec, {2, kLength, kGroups, kDim}, dtype, 1);
    const Tensor v = random_tensor(exec, {2, kLength, kGroups, kDim}, dtype, 2);
    for (const int32_t queries : {1, 3}) {
      const Tensor q = random_tensor(exec, {2, queries, kHeads, kDim}, dtype, 3);
      const Tensor out = exec.empty(q.shape(), dtype), expected = exec.empty(q.shape(), dtype);
      for (const int32_t keys : {queries, 17, 40}) {
        attention({.q = q, .k = k, .v = v, .scale = 0.3, .num_keys = number(exec, keys), .out = out}, exec);
        attention({.q = q, .k = k.slice(1, 0, keys), .v = v.slice(1, 0, keys), .scale = 0.3, .out = expected},
                  exec);
        EXPECT_EQ(values_of(out), values_of(expected)) << name_of(dtype) << " " << queries << " of " << keys;
      }
      for (const int32_t keys : {queries - 1, 41}) {
        EXPECT_THROW(attention({.q = q, .k = k, .v = v, .num_keys = number(exec, keys), .out = out}, exec),
                     Error);
      }
    }
  }
}

}  // namespace
}  // namespace megalith
