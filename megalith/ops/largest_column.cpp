#include "megalith/ops/largest_column.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/largest_column.h"
#include "megalith/ops/check.h"

namespace megalith {

void largest_column(const Tensor& x, const Tensor& out, Exec& exec) {
  constexpr const char* kOp = "largest_column";
  check_float(kOp, "x", x, exec);
  check_rows(kOp, "x", x);
  MG_CHECK(x.dim(-1) > 0, "{}: there are no columns", kOp);
  check_tensor(kOp, "out", out, DType::kI32, {x.rows()}, exec);
  check_contiguous(kOp, "out", out);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) {
      return cuda::largest_column({.dtype = x.dtype(),
                                   .rows = x.rows(),
                                   .columns = x.dim(-1),
                                   .stride = x.row_stride(),
                                   .x = x.raw(),
                                   .out = out.data<int32_t>()},
                                  exec);
    }
  }
  dispatch_dtype<double, float, bf16, f16>(x.dtype(), kOp, [&]<class T>() {
    for (int64_t row = 0; row < x.rows(); ++row) {
      const T* values = x.data<T>() + row * x.row_stride();
      using A = std::conditional_t<std::is_same_v<T, double>, double, float>;
      A largest = -std::numeric_limits<A>::infinity();
      int32_t column = -1;
      for (int64_t i = 0; i < x.dim(-1); ++i) {
        const auto value = static_cast<A>(values[i]);
        if (value > largest || (value == largest && column < 0)) {
          largest = value;
          column = static_cast<int32_t>(i);
        }
      }
      out.data<int32_t>()[row] = std::max(column, 0);
    }
  });
}

}  // namespace megalith
