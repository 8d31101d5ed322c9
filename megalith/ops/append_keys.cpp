#include "megalith/ops/append_keys.h"

#include <algorithm>

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/append_keys.h"
#include "megalith/ops/check.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

constexpr const char* kOp = "append_keys";

cuda::TokenRows token_rows(const Tensor& x) {
  return {x.raw(), x.stride(0), x.stride(1), x.stride(2)};
}

void check(const AppendKeysArgs& args, const Exec& exec) {
  check_float(kOp, "k", args.k, exec);
  MG_CHECK(args.k.rank() == 4 && args.keys.defined() && args.keys.rank() == 4,
           "{}: k is [B, S, K, D] and keys [B, L, K, D]", kOp);
  const Shape& k = args.k.shape();
  check_tensor(kOp, "v", args.v, args.k.dtype(), k, exec);
  check_tensor(kOp, "place", args.place, DType::kI32, {1}, exec);
  const Shape all{k[0], args.keys.dim(1), k[2], k[3]};
  check_tensor(kOp, "keys", args.keys, args.k.dtype(), all, exec);
  check_tensor(kOp, "values", args.values, args.k.dtype(), all, exec);
  for (const Tensor* x : {&args.k, &args.v, &args.keys, &args.values})
    MG_CHECK(k[3] <= 1 || x->stride(3) == 1, "{}: rows are not contiguous", kOp);
}

}  // namespace

void append_keys(const AppendKeysArgs& args, Exec& exec) {
  check(args, exec);
  const int64_t length = args.keys.dim(1);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) {
      return cuda::append_keys({.dtype = args.k.dtype(),
                                .batch = args.k.dim(0),
                                .tokens = args.k.dim(1),
                                .heads = args.k.dim(2),
                                .head_dim = args.k.dim(3),
                                .length = length,
                                .k = token_rows(args.k),
                                .v = token_rows(args.v),
                                .keys = token_rows(args.keys),
                                .values = token_rows(args.values),
                                .place = args.place.data<int32_t>()},
                               exec);
    }
  }
  const int64_t begin = std::min<int64_t>(*args.place.data<int32_t>(), length);
  const int64_t end = std::min(begin + args.k.dim(1), length);
  MG_CHECK(begin >= 0, "{}: place {}", kOp, begin);
  copy(args.k.slice(1, 0, end - begin), args.keys.slice(1, begin, end), exec);
  copy(args.v.slice(1, 0, end - begin), args.values.slice(1, begin, end), exec);
}

}  // namespace megalith
