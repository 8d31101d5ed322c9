#include "megalith/ops/cross_entropy.h"

#include <algorithm>

#include "megalith/base/math.h"
#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/cross_entropy.h"
#include "megalith/kernels/cuda/cross_entropy.h"
#include "megalith/ops/check.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

cpu::LogitRows logit_rows(const char* op, const Tensor& logits, const Tensor& labels, int64_t first_label,
                          const Exec& exec) {
  check_float(op, "logits", logits, exec);
  MG_CHECK(logits.rank() == 2, "{}: logits of shape {} are not a matrix", op, logits.shape().str());
  check_rows(op, "logits", logits);
  check_tensor(op, "labels", labels, DType::kI32, {logits.dim(0)}, exec);
  check_contiguous(op, "labels", labels);
  MG_CHECK(first_label >= 0, "{}: first_label is {}; allowed: 0 or more", op, first_label);
  return {.dtype = logits.dtype(),
          .rows = logits.dim(0),
          .columns = logits.dim(1),
          .logits = logits.raw(),
          .stride = logits.row_stride(),
          .labels = labels.data<int32_t>(),
          .first_label = first_label};
}

void check_dense(const char* op, const char* name, const Tensor& tensor, DType dtype, const Shape& shape,
                 const Exec& exec) {
  check_tensor(op, name, tensor, dtype, shape, exec);
  check_contiguous(op, name, tensor);
}

}  // namespace

void cross_entropy(const CrossEntropyArgs& args, Exec& exec) {
  constexpr const char* kOp = "cross_entropy";
  cpu::CrossEntropyRows problem{.in = logit_rows(kOp, args.logits, args.labels, args.first_label, exec),
                                .d_loss = args.d_loss};
  const int64_t rows = problem.in.rows;
  const DType sum_dtype = accumulate_dtype(problem.in.dtype);
  check_dense(kOp, "loss", args.loss, sum_dtype, {rows}, exec);
  problem.loss = args.loss.raw();
  if (args.statistics.defined()) {
    MG_CHECK(args.statistics.rank() == 3, "cross_entropy: statistics of shape {}, needed: [R, 3, {}]",
             args.statistics.shape().str(), rows);
    problem.num_shards = args.statistics.dim(0);
    check_dense(kOp, "statistics", args.statistics, sum_dtype, {problem.num_shards, 3, rows}, exec);
    problem.statistics = args.statistics.raw();
  } else {
    MG_CHECK(args.first_label == 0,
             "cross_entropy: first_label is {}; a shard of a vocabulary needs statistics", args.first_label);
  }
  if (args.loss_weights.defined()) {
    check_dense(kOp, "loss_weights", args.loss_weights, sum_dtype, {rows}, exec);
    problem.loss_weights = args.loss_weights.raw();
  }
  if (args.d_logits.defined()) {
    check_tensor(kOp, "d_logits", args.d_logits, problem.in.dtype, args.logits.shape(), exec);
    check_rows(kOp, "d_logits", args.d_logits);
    problem.d_logits = args.d_logits.raw();
    problem.d_logits_stride = args.d_logits.row_stride();
  }
  // Labels on a GPU are for the kernel to check.
  const int64_t vocabulary = problem.in.columns * problem.num_shards;
  for (int64_t t = 0; exec.device().is_cpu() && t < rows; ++t) {
    MG_CHECK(problem.in.labels[t] < vocabulary,
             "cross_entropy: label {} of token {}; allowed: below {} (negative: ignored)",
             problem.in.labels[t], t, vocabulary);
  }
  if (rows == 0 || problem.in.columns == 0) return fill(args.loss, 0, exec);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::cross_entropy(problem, exec);
  }
  cpu::cross_entropy(problem, exec);
}

void cross_entropy_statistics(const CrossEntropyStatisticsArgs& args, Exec& exec) {
  constexpr const char* kOp = "cross_entropy_statistics";
  cpu::CrossEntropyStatistics problem{.in =
                                          logit_rows(kOp, args.logits, args.labels, args.first_label, exec)};
  check_dense(kOp, "statistics", args.statistics, accumulate_dtype(problem.in.dtype), {3, problem.in.rows},
              exec);
  problem.out = args.statistics.raw();
  MG_CHECK(problem.in.columns > 0, "cross_entropy_statistics: the shard has no columns");
  if (problem.in.rows == 0) return;
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::cross_entropy_statistics(problem, exec);
  }
  cpu::cross_entropy_statistics(problem, exec);
}

void weighted_sum(const Tensor& x, const Tensor& weights, const Tensor& out, Exec& exec) {
  constexpr const char* kOp = "weighted_sum";
  MG_CHECK(x.defined() && x.rank() == 1 && (x.dtype() == DType::kF64 || x.dtype() == DType::kF32),
           "weighted_sum: x must be [T] of f32 or f64");
  check_dense(kOp, "x", x, x.dtype(), x.shape(), exec);
  check_dense(kOp, "weights", weights, x.dtype(), x.shape(), exec);
  check_dense(kOp, "out", out, DType::kF64, {1}, exec);
  const cpu::WeightedSum problem{x.dtype(), x.numel(), x.raw(), weights.raw(), out.data<double>()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::weighted_sum(problem, exec);
  }
  cpu::weighted_sum(problem);
}

int64_t cross_entropy_chunk_rows(int64_t tokens, int64_t vocabulary) {
  constexpr int64_t kMaxElements = int64_t{1} << 29;
  constexpr int64_t kStep = 128;
  MG_ASSERT(tokens >= 0 && vocabulary > 0);
  const int64_t most = std::max(kStep, kMaxElements / vocabulary / kStep * kStep);
  const int64_t chunks = std::max<int64_t>(ceil_div(tokens, most), 1);
  return std::max(kStep, round_up(ceil_div(tokens, chunks), kStep));
}

}  // namespace megalith
