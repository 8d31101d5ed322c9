#include "megalith/ops/attention.h"

#include <cmath>

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/attention.h"
#include "megalith/kernels/cuda/attention.h"

namespace megalith {
namespace {

cpu::HeadRows head_rows(const Tensor& tensor) {
  return {tensor.raw(), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

void check_rows(const char* op, const char* name, const Tensor& tensor, const Shape& shape, DType dtype) {
  MG_CHECK(tensor.defined(), "{}: {} is undefined", op, name);
  MG_CHECK(tensor.shape() == shape && tensor.dtype() == dtype, "{}: {} is {} {}, needed: {} {}", op, name,
           name_of(tensor.dtype()), tensor.shape().str(), name_of(dtype), shape.str());
  MG_CHECK(shape[3] <= 1 || tensor.stride(3) == 1, "{}: rows of {} are not contiguous", op, name);
}

cpu::AttentionProblem checked(const char* op, const AttentionArgs& args) {
  for (const Tensor* tensor : {&args.q, &args.k, &args.v, &args.out})
    MG_CHECK(tensor->defined() && tensor->rank() == 4, "{}: q, k, v and out are tensors [B, S, N, D]", op);
  const DType dtype = args.q.dtype();
  MG_CHECK(dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16,
           "{}: dtype {} is not supported; allowed: f64, f32, bf16, f16", op, name_of(dtype));
  const Shape& q = args.q.shape();
  const int64_t keys = args.k.dim(1);
  const int64_t kv_heads = args.k.dim(2);
  const Shape kv{q[0], keys, kv_heads, q[3]};
  check_rows(op, "q", args.q, q, dtype);
  check_rows(op, "k", args.k, kv, dtype);
  check_rows(op, "v", args.v, kv, dtype);
  check_rows(op, "out", args.out, q, dtype);
  MG_CHECK(q[3] > 0 && kv_heads > 0 && q[2] % kv_heads == 0,
           "{}: {} query heads of size {} do not share {} key heads", op, q[2], q[3], kv_heads);
  MG_CHECK(!args.is_causal || keys >= q[1], "{}: {} queries but only {} keys under a causal mask", op, q[1],
           keys);
  MG_CHECK(args.dropout >= 0 && args.dropout < 1, "{}: dropout {}; allowed: [0, 1)", op, args.dropout);

  cpu::AttentionProblem problem{dtype,
                                q[0],
                                q[1],
                                keys,
                                q[2],
                                kv_heads,
                                q[3],
                                args.scale,
                                args.is_causal,
                                head_rows(args.q),
                                head_rows(args.k),
                                head_rows(args.v),
                                head_rows(args.out)};
  if (args.lse.defined()) {
    const DType lse_dtype = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
    const Shape lse{q[0], q[2], q[1]};
    MG_CHECK(args.lse.shape() == lse && args.lse.dtype() == lse_dtype && args.lse.is_contiguous(),
             "{}: lse is {} {}, needed: {} {}, contiguous", op, name_of(args.lse.dtype()),
             args.lse.shape().str(), name_of(lse_dtype), lse.str());
    problem.lse = args.lse.raw();
  }
  const auto key_limits = [&](const Tensor& limits, const char* name) -> cpu::KeyLimits {
    if (!limits.defined()) return {};
    MG_CHECK(limits.shape() == (Shape{q[0], q[1]}) && (q[1] <= 1 || limits.stride(1) == 1),
             "{}: {} of shape {} for {} sequences of {} queries", op, name, limits.shape().str(), q[0], q[1]);
    return {limits.data<int32_t>(), limits.stride(0)};
  };
  problem.first_key = key_limits(args.first_key, "first_key");
  problem.end_key = key_limits(args.end_key, "end_key");
  MG_CHECK(!args.end_key.defined() || !args.is_causal, "{}: end_key takes the place of is_causal", op);
  if (args.documents.starts.defined()) {
    const Tensor& starts = args.documents.starts;
    MG_CHECK(starts.dtype() == DType::kI32 && starts.rank() == 1 && starts.dim(0) >= 2 &&
                 starts.is_contiguous() && args.documents.longest >= 1 && args.documents.longest <= q[1],
             "{}: documents begin at {} {}, the longest has {} of {} tokens; needed: i32 [D + 1]", op,
             name_of(starts.dtype()), starts.shape().str(), args.documents.longest, q[1]);
    MG_CHECK(args.first_key.defined() && args.is_causal && keys == q[1] && args.key_gap == 0,
             "{}: documents go with first_key, a causal mask and a key for each query", op);
    problem.documents = {starts.data<int32_t>(), starts.dim(0) - 1, args.documents.longest};
  }
  MG_CHECK(args.key_gap >= 0, "{}: key_gap {}; allowed: from 0", op, args.key_gap);
  problem.key_gap = args.key_gap;
  // One that reaches the first key from the last query is none.
  if (args.window >= 0 && args.window < keys - 1 + args.key_gap) problem.window = args.window;
  if (args.num_keys.defined()) {
    MG_CHECK(args.num_keys.numel() == 1 && args.dropout == 0,
             "{}: num_keys is one number, and takes no dropout", op);
    problem.num_keys = args.num_keys.data<int32_t>();
  }
  problem.dropout_threshold = static_cast<uint32_t>(std::lround(args.dropout * 0x1p24));
  problem.kept_scale = 1 / (1 - args.dropout);
  problem.rng = {args.rng.seed, args.rng.stream};
  return problem;
}

}  // namespace

void attention(const AttentionArgs& args, Exec& exec) {
  cpu::AttentionProblem problem = checked("attention", args);
  if (args.out.numel() == 0) return;
  if (exec.device().is_cuda()) {
    if constexpr (kHasCuda) return cuda::attention(problem, exec);
  }
  if (problem.num_keys != nullptr) {
    MG_CHECK(*problem.num_keys >= problem.queries && *problem.num_keys <= problem.keys,
             "attention: num_keys {}; allowed: {} to {}", *problem.num_keys, problem.queries, problem.keys);
    problem.keys = *problem.num_keys;
  }
  cpu::attention(problem, exec);
}

void attention_backward(const AttentionBackwardArgs& args, Exec& exec) {
  constexpr const char* kOp = "attention_backward";
  const AttentionArgs& forward = args.forward;
  const cpu::AttentionProblem problem = checked(kOp, forward);
  MG_CHECK(!forward.num_keys.defined(), "{}: num_keys serves inference", kOp);
  MG_CHECK(forward.lse.defined(), "{}: the lse of the forward is needed", kOp);
  const DType dtype = forward.q.dtype();
  check_rows(kOp, "d_out", args.d_out, forward.q.shape(), dtype);
  check_rows(kOp, "d_q", args.d_q, forward.q.shape(), dtype);
  check_rows(kOp, "d_k", args.d_k, forward.k.shape(), dtype);
  check_rows(kOp, "d_v", args.d_v, forward.v.shape(), dtype);
  if (problem.batch == 0) return;
  const cpu::AttentionGradients gradients{head_rows(args.d_out), head_rows(args.d_q), head_rows(args.d_k),
                                          head_rows(args.d_v)};
  if (exec.device().is_cuda()) {
    if constexpr (kHasCuda) return cuda::attention_backward(problem, gradients, exec);
  }
  cpu::attention_backward(problem, gradients, exec);
}

void set_deterministic_attention(bool is_deterministic, Exec& exec) {
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) cuda::set_deterministic_attention(is_deterministic, exec);
  }
}

}  // namespace megalith
