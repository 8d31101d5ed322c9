#include "megalith/ops/grouped_gemm.h"

#include "megalith/ops/check.h"

namespace megalith {

std::vector<int64_t> group_offsets(const char* op, const Tensor& offsets, int64_t rows, Exec& exec) {
  MG_CHECK(exec.device().is_cpu(), "{}: mixtures of experts run on the CPU only; the device is {}", op,
           exec.device().name());
  MG_CHECK(offsets.defined() && offsets.rank() == 1, "{}: offsets must be [E + 1]", op);
  check_tensor(op, "offsets", offsets, DType::kI32, offsets.shape(), exec);
  std::vector<int64_t> ends = to_vector<int64_t>(offsets);
  MG_CHECK(!ends.empty() && ends.front() == 0 && ends.back() == rows,
           "{}: the groups do not cover the {} rows", op, rows);
  for (size_t e = 0; e + 1 < ends.size(); ++e)
    MG_CHECK(ends[e] <= ends[e + 1], "{}: group {} ends at row {} and begins at {}", op, e, ends[e + 1],
             ends[e]);
  return ends;
}

void grouped_gemm(const GroupedGemmArgs& args, Exec& exec) {
  const std::vector<int64_t> ends = group_offsets("grouped_gemm", args.offsets, args.x.dim(0), exec);
  MG_CHECK(args.weights.size() + 1 == ends.size(), "grouped_gemm: {} weights for {} groups",
           args.weights.size(), ends.size() - 1);
  MG_CHECK(args.y.defined() && args.y.dim(0) == args.x.dim(0), "grouped_gemm: x has {} rows, y {}",
           args.x.dim(0), args.y.dim(0));
  for (size_t e = 0; e < args.weights.size(); ++e) {
    if (ends[e] == ends[e + 1]) continue;
    gemm({.a = args.x.slice(0, ends[e], ends[e + 1]),
          .b = args.weights[e],
          .c = args.y.slice(0, ends[e], ends[e + 1]),
          .transpose_b = args.transpose_w},
         exec);
  }
}

}  // namespace megalith
