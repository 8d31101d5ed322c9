#include "megalith/comm/reduce.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace megalith {
namespace {

// Sums of integers wrap, so they are taken unsigned; comparisons are taken as the type is.
template <class T, ReduceOp op>
struct Carrier {
  using type = accumulate_t<T>;
};
template <>
struct Carrier<int64_t, ReduceOp::kSum> {
  using type = uint64_t;
};
template <>
struct Carrier<int32_t, ReduceOp::kSum> {
  using type = uint32_t;
};
template <ReduceOp op>
struct Carrier<int64_t, op> {
  using type = int64_t;
};
template <ReduceOp op>
struct Carrier<int32_t, op> {
  using type = int32_t;
};

template <ReduceOp op, class A>
A combine(A a, A b) {
  if constexpr (op == ReduceOp::kSum || op == ReduceOp::kAvg) {
    return a + b;
  } else {
    const bool b_wins = op == ReduceOp::kMax ? b > a : b < a;
    return b_wins || b != b ? b : a;  // a NaN on either side stays
  }
}

template <class T, ReduceOp op>
void reduce_typed(std::span<const std::byte* const> in, std::byte* out_bytes, int64_t count) {
  using A = typename Carrier<T, op>::type;
  constexpr int64_t kChunk = 1024;  // the partial results stay in the first cache level
  A partial[kChunk];
  T* out = reinterpret_cast<T*>(out_bytes);
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t n = std::min(kChunk, count - begin);
    for (size_t r = 0; r < in.size(); ++r) {
      const T* x = reinterpret_cast<const T*>(in[r]) + begin;
      if (r == 0) {
        for (int64_t i = 0; i < n; ++i) partial[i] = static_cast<A>(x[i]);
      } else {
        for (int64_t i = 0; i < n; ++i) partial[i] = combine<op>(partial[i], static_cast<A>(x[i]));
      }
    }
    for (int64_t i = 0; i < n; ++i) {
      if constexpr (op == ReduceOp::kAvg) partial[i] /= static_cast<A>(in.size());
      out[begin + i] = static_cast<T>(partial[i]);
    }
  }
}

template <class T>
void reduce_by_op(ReduceOp op, std::span<const std::byte* const> in, std::byte* out, int64_t count) {
  switch (op) {
    case ReduceOp::kSum:
      return reduce_typed<T, ReduceOp::kSum>(in, out, count);
    case ReduceOp::kMax:
      return reduce_typed<T, ReduceOp::kMax>(in, out, count);
    case ReduceOp::kMin:
      return reduce_typed<T, ReduceOp::kMin>(in, out, count);
    case ReduceOp::kAvg:
      if constexpr (!std::is_integral_v<T>) return reduce_typed<T, ReduceOp::kAvg>(in, out, count);
      fail("the average of {} is not defined", name_of(dtype_of<T>));
  }
}

}  // namespace

void reduce_elements(DType dtype, ReduceOp op, std::span<const std::byte* const> in, std::byte* out,
                     int64_t count) {
  if (in.size() == 1) {
    if (count > 0 && in[0] != out) std::memcpy(out, in[0], static_cast<size_t>(count) * size_of(dtype));
    return;
  }
  dispatch_dtype<double, float, bf16, f16, int64_t, int32_t>(
      dtype, "reduce", [&]<class T>() { reduce_by_op<T>(op, in, out, count); });
}

}  // namespace megalith
