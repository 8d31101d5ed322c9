#include "megalith/core/dtype.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace megalith {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// What the bits of a small binary format stand for, from the definition: sign, exponent, fraction.
double value_of(uint16_t bits, int fraction_bits, int bias) {
  const int exponent_bits = 15 - fraction_bits;
  const int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const double fraction = std::ldexp(bits & ((1 << fraction_bits) - 1), -fraction_bits);
  const double sign = (bits >> 15) != 0 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  }
  return sign * (exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias));
}

template <class T>
T from_bits(uint32_t bits) {
  T value;
  value.bits = static_cast<uint16_t>(bits);
  return value;
}

template <class T>
void check_all_values(int fraction_bits, int bias) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const auto value = static_cast<float>(from_bits<T>(bits));
    const double expected = value_of(static_cast<uint16_t>(bits), fraction_bits, bias);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(static_cast<float>(T(value)))) << bits;
    } else {
      ASSERT_EQ(static_cast<double>(value), expected) << bits;
      ASSERT_EQ(T(value).bits, bits) << "there and back";
    }
  }
}

// Between any two neighbours: below the middle rounds down, above it up, the middle to the even one.
template <class T>
void check_rounding(uint32_t largest) {
  for (uint32_t low = 0; low < largest; ++low) {
    const auto a = static_cast<double>(static_cast<float>(from_bits<T>(low)));
    const auto b = static_cast<double>(static_cast<float>(from_bits<T>(low + 1)));
    const auto middle = static_cast<float>((a + b) / 2);
    ASSERT_EQ(static_cast<double>(middle), (a + b) / 2) << "the middle is a float";
    const uint32_t even = low % 2 == 0 ? low : low + 1;
    for (const uint32_t sign : {0u, 0x8000u}) {
      const float factor = sign == 0 ? 1.0f : -1.0f;
      ASSERT_EQ(T(factor * middle).bits, sign | even) << low;
      ASSERT_EQ(T(factor * std::nextafter(middle, 0.0f)).bits, sign | low) << low;
      ASSERT_EQ(T(factor * std::nextafter(middle, std::numeric_limits<float>::infinity())).bits,
                sign | (low + 1))
          << low;
    }
  }
}

TEST(Bf16, EveryValueIsWhatItsBitsSay) {
  check_all_values<bf16>(7, 127);
}

TEST(Bf16, RoundsToNearestEven) {
  check_rounding<bf16>(0x7f7f);
  EXPECT_EQ(bf16(std::numeric_limits<float>::max()).bits, 0x7f80);  // nearer to infinity than to 0x7f7f
}

TEST(F16, EveryValueIsWhatItsBitsSay) {
  check_all_values<f16>(10, 15);
}

TEST(F16, RoundsToNearestEven) {
  check_rounding<f16>(0x7bff);
  EXPECT_EQ(f16(65519.0f).bits, 0x7bff);
  EXPECT_EQ(f16(65520.0f).bits, 0x7c00);  // the middle between 65504 and the next power
}

TEST(DType, NamesParseBack) {
  for (const DType dtype :
       {DType::kF64, DType::kF32, DType::kBF16, DType::kF16, DType::kI64, DType::kI32, DType::kU8}) {
    EXPECT_EQ(parse_dtype(name_of(dtype)), dtype);
  }
  EXPECT_EQ(parse_dtype("bfloat16"), DType::kBF16);
  EXPECT_EQ(parse_dtype("float32"), DType::kF32);
  EXPECT_THAT([] { parse_dtype("f12"); },
              ThrowsMessage<Error>(HasSubstr("dtype 'f12' is unknown; allowed: f64")));
}

TEST(DType, SizesMatchTheTypes) {
  EXPECT_EQ(size_of(DType::kF64), sizeof(double));
  EXPECT_EQ(size_of(DType::kF32), sizeof(float));
  EXPECT_EQ(size_of(DType::kBF16), sizeof(bf16));
  EXPECT_EQ(size_of(DType::kF16), sizeof(f16));
  EXPECT_EQ(size_of(DType::kI64), sizeof(int64_t));
  EXPECT_EQ(size_of(DType::kF8E4M3), 1u);
}

TEST(DType, DispatchCallsTheTypeOrNamesTheChoices) {
  int calls = 0;
  dispatch_dtype<float, bf16>(DType::kBF16, "op", [&]<class T>() { calls += dtype_of<T> == DType::kBF16; });
  EXPECT_EQ(calls, 1);
  const auto refused = [&] { dispatch_dtype<float, bf16>(DType::kI32, "op", [&]<class T>() { ++calls; }); };
  EXPECT_THAT(refused, ThrowsMessage<Error>(HasSubstr("op: dtype i32 is not supported; allowed: f32, bf16")));
}

}  // namespace
}  // namespace megalith
