#include "megalith/ops/cross_entropy.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/cross_entropy.h"
#include "megalith/kernels/cuda/cross_entropy.h"
#include "megalith/ops/elementwise.h"

namespace megalith {

void cross_entropy(const CrossEntropyArgs& args, Exec& exec) {
  MG_CHECK(args.logits.defined() && args.labels.defined() && args.loss.defined(),
           "cross_entropy: logits, labels and loss are needed");
  MG_CHECK(args.logits.rank() == 2 && args.logits.is_rows(),
           "cross_entropy: logits of shape {} are not a matrix of contiguous rows",
           args.logits.shape().str());
  const DType dtype = args.logits.dtype();
  const int64_t rows = args.logits.dim(0);
  const int64_t columns = args.logits.dim(1);
  MG_CHECK(dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kBF16,
           "cross_entropy: dtype {} is not supported; allowed: f64, f32, bf16", name_of(dtype));
  MG_CHECK(args.labels.shape() == Shape{rows} && args.labels.is_contiguous(),
           "cross_entropy: labels of shape {} for logits {}", args.labels.shape().str(),
           args.logits.shape().str());
  const DType loss_dtype = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  MG_CHECK(args.loss.shape() == Shape{rows} && args.loss.is_contiguous() && args.loss.dtype() == loss_dtype,
           "cross_entropy: loss is {} {}, needed: {} [{}]", name_of(args.loss.dtype()),
           args.loss.shape().str(), name_of(loss_dtype), rows);
  void* d_logits = nullptr;
  int64_t d_logits_stride = 0;
  if (args.d_logits.defined()) {
    MG_CHECK(args.d_logits.shape() == args.logits.shape() && args.d_logits.dtype() == dtype &&
                 args.d_logits.is_rows(),
             "cross_entropy: d_logits is {} {}, logits are {} {}", name_of(args.d_logits.dtype()),
             args.d_logits.shape().str(), name_of(dtype), args.logits.shape().str());
    d_logits = args.d_logits.raw();
    d_logits_stride = args.d_logits.row_stride();
  }
  for (const Tensor* tensor : {&args.logits, &args.labels, &args.loss}) {
    MG_CHECK(tensor->device() == exec.device(), "cross_entropy: a tensor of {} on {}",
             tensor->device().name(), exec.device().name());
  }
  const int32_t* labels = args.labels.data<int32_t>();
  // Labels on a GPU are for the kernel to check.
  for (int64_t t = 0; exec.device().is_cpu() && t < rows; ++t)
    MG_CHECK(labels[t] < columns,
             "cross_entropy: label {} of token {}; allowed: below {} (negative: ignored)", labels[t], t,
             columns);
  if (rows == 0 || columns == 0) return fill(args.loss, 0, exec);
  const cpu::CrossEntropyRows problem{
      dtype,           rows,     columns,        args.logits.raw(), args.logits.row_stride(), labels,
      args.loss.raw(), d_logits, d_logits_stride};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::cross_entropy(problem, exec);
  }
  cpu::cross_entropy(problem, exec);
}

}  // namespace megalith
