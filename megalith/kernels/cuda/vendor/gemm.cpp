#include "megalith/kernels/cuda/gemm.h"

#include <algorithm>

#include "megalith/core/exec.h"
#include "megalith/kernels/cuda/elementwise.h"
#include "megalith/kernels/cuda/gemv.h"
#include "megalith/kernels/cuda/vendor/gemm_plan.h"

namespace megalith::cuda {
namespace {

// The largest power of two up to 16 that divides the address and the bytes from row to row.
int alignment_of(const void* data, int64_t stride_bytes) {
  const uint64_t bits = reinterpret_cast<uintptr_t>(data) | static_cast<uint64_t>(stride_bytes) | 16;
  return static_cast<int>(bits & (~bits + 1));
}

GemmKey key_of(const cpu::GemmProblem& p, bool fuses_bias, double beta, bool allows_tf32) {
  const auto size = static_cast<int64_t>(size_of(p.dtype));
  const auto out_size = static_cast<int64_t>(size_of(p.out_dtype));
  return {.m = p.m,
          .n = p.n,
          .k = p.k,
          .a_stride = p.a.row_stride,
          .b_stride = p.b.row_stride,
          .c_stride = p.c_row_stride,
          .dtype = p.dtype,
          .out_dtype = p.out_dtype,
          .is_tf32 = allows_tf32 && p.dtype == DType::kF32,
          .transpose_a = p.a.transpose,
          .transpose_b = p.b.transpose,
          .has_bias = fuses_bias,
          .reads_c = beta != 0,
          .a_alignment = alignment_of(p.a.data, p.a.row_stride * size),
          .b_alignment = alignment_of(p.b.data, p.b.row_stride * size),
          .c_alignment = std::min(alignment_of(p.c, p.c_row_stride * out_size), alignment_of(p.addend, 0)),
          .bias_alignment = fuses_bias ? alignment_of(p.bias, 0) : 0};
}

// Every row of C becomes the bias.
void set_rows_to_bias(const cpu::GemmProblem& p, Exec& exec) {
  cpu::CopyArgs args{
      .from_dtype = p.out_dtype, .to_dtype = p.out_dtype, .from = p.bias, .to = p.c, .rank = 2};
  args.dims[0] = p.m;
  args.dims[1] = p.n;
  args.from_strides[1] = args.to_strides[1] = 1;
  args.to_strides[0] = p.c_row_stride;
  cuda::copy(args, exec);
}

// Without terms to sum over: C = beta * C + bias.
void scale_or_set(const cpu::GemmProblem& p, Exec& exec) {
  if (p.bias != nullptr) return set_rows_to_bias(p, exec);
  if (p.beta != 0) {
    return cuda::scale({.dtype = p.out_dtype,
                        .x = p.c,
                        .out = p.c,
                        .factor = p.beta,
                        .rows = p.m,
                        .cols = p.n,
                        .x_stride = p.c_row_stride,
                        .out_stride = p.c_row_stride},
                       exec);
  }
  const uint64_t zero = 0;
  cpu::CopyArgs args{.from_dtype = p.out_dtype, .to_dtype = p.out_dtype, .from = &zero, .to = p.c, .rank = 2};
  args.dims[0] = p.m;
  args.dims[1] = p.n;
  args.to_strides[0] = p.c_row_stride;
  args.to_strides[1] = 1;
  cuda::fill(args, exec);
}

}  // namespace

void gemm(const cpu::GemmProblem& p, Exec& exec) {
  if (p.m == 0 || p.n == 0) return;
  if (p.k == 0) return scale_or_set(p, exec);
  if (takes_gemv(p)) return gemv(p, exec);
  // cuBLASLt adds a bias to f32 and 16-bit results whose place it can read in vectors; others start from it.
  const bool fuses_bias =
      p.bias != nullptr && p.dtype != DType::kF64 && p.n > 1 && alignment_of(p.bias, 0) == 16;
  double beta = p.beta;
  if (p.bias != nullptr && !fuses_bias) {
    set_rows_to_bias(p, exec);
    beta = 1;
  }
  const cublasLtHandle_t handle = exec.slots().get<CublasLt>().handle();
  GemmPlans& all = exec.slots().get<GemmPlans>();
  if (!all.table) all.table = GemmTable::for_device(cublasLtGetVersion(), exec.cuda().limits().name);
  const GemmKey key = key_of(p, fuses_bias, beta, all.allows_tf32);
  std::unique_ptr<GemmPlan>& plan = all.plans[key];
  if (plan == nullptr) plan = std::make_unique<GemmPlan>(key, *all.table, handle);
  ScratchFrame frame(exec.scratch());
  plan->run({.a = p.a.data,
             .b = p.b.data,
             .c = p.c,
             .bias = p.bias,
             .addend = p.addend,
             .alpha = p.alpha,
             .beta = beta,
             .workspace = frame.take<std::byte>(kGemmWorkspaceBytes, "gemm workspace"),
             .stream = exec.cuda().stream()},
            handle);
}

void allow_tf32(Exec& exec) {
  exec.slots().get<GemmPlans>().allows_tf32 = true;
}

std::string describe_gemm_plans(Exec& exec) {
  std::string text;
  for (const auto& [key, plan] : exec.slots().get<GemmPlans>().plans) text += plan->describe() + "\n";
  return text;
}

}  // namespace megalith::cuda
