#pragma once
// defines: DType, bf16, f16, dtype_of, size_of, name_of, parse_dtype, accumulate_t, dispatch_dtype

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "megalith/base/error.h"

namespace megalith {

/// The fp8 and fp4 kinds have names and sizes here; kernels that take them come with the devices that compute
/// in them.
enum class DType : uint8_t { kF64, kF32, kBF16, kF16, kI64, kI32, kU8, kF8E4M3, kF8E5M2 };

/// The upper half of an IEEE binary32. Arithmetic happens in float. The conversions are inlined by force,
/// with built-ins for bit casts, because kernels that are compiled once per instruction set use them.
struct bf16 {
  uint16_t bits = 0;

  bf16() = default;
  /// Rounds to nearest, ties to even; NaN stays NaN.
  [[gnu::always_inline]] explicit bf16(float value) {
    const auto word = __builtin_bit_cast(uint32_t, value);
    const uint32_t rounded = (word + 0x7fffu + ((word >> 16) & 1u)) >> 16;
    const bool is_nan = (word & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<uint16_t>(is_nan ? (word >> 16) | 0x40u : rounded);
  }
  [[gnu::always_inline]] explicit operator float() const {
    return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16);
  }
  friend bool operator==(bf16, bf16) = default;
};

/// IEEE binary16. Arithmetic happens in float.
struct f16 {
  uint16_t bits = 0;

  f16() = default;
  [[gnu::always_inline]] explicit f16(float value)
      : bits(__builtin_bit_cast(uint16_t, static_cast<_Float16>(value))) {}
  [[gnu::always_inline]] explicit operator float() const {
    return static_cast<float>(__builtin_bit_cast(_Float16, bits));
  }
  friend bool operator==(f16, f16) = default;
};

template <class T>
struct DTypeOf;
// clang-format off
template <> struct DTypeOf<double>  { static constexpr DType value = DType::kF64; };
template <> struct DTypeOf<float>   { static constexpr DType value = DType::kF32; };
template <> struct DTypeOf<bf16>    { static constexpr DType value = DType::kBF16; };
template <> struct DTypeOf<f16>     { static constexpr DType value = DType::kF16; };
template <> struct DTypeOf<int64_t> { static constexpr DType value = DType::kI64; };
template <> struct DTypeOf<int32_t> { static constexpr DType value = DType::kI32; };
template <> struct DTypeOf<uint8_t> { static constexpr DType value = DType::kU8; };
// clang-format on

template <class T>
constexpr DType dtype_of = DTypeOf<T>::value;

/// Bytes of one element.
size_t size_of(DType dtype);
/// "f32", "bf16", ...
const char* name_of(DType dtype);
/// The inverse of name_of; also takes "fp32", "float32", "bfloat16" and the like. Throws Error naming the
/// choices.
DType parse_dtype(std::string_view name);

/// What sums of T are kept in: double for double, float for float, bf16 and f16.
template <class T>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};
template <class T>
using accumulate_t = typename Accumulate<T>::type;

/// Calls `work.operator()<T>()` with the C++ type of `dtype`, which must be one of Ts; `op` names the caller
/// in the error.
///
///     dispatch_dtype<double, float, bf16>(x.dtype(), "rmsnorm", [&]<class T>() { rmsnorm_kernel<T>(args);
///     });
template <class... Ts, class Work>
void dispatch_dtype(DType dtype, const char* op, Work&& work) {
  const bool found = ((dtype == dtype_of<Ts> ? (work.template operator()<Ts>(), true) : false) || ...);
  if (!found) {
    std::string allowed;
    ((allowed += allowed.empty() ? name_of(dtype_of<Ts>) : std::string(", ") + name_of(dtype_of<Ts>)), ...);
    fail("{}: dtype {} is not supported; allowed: {}", op, name_of(dtype), allowed);
  }
}

}  // namespace megalith
