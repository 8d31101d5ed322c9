#include "megalith/ops/sample_tokens.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/sample_token.h"
#include "megalith/kernels/cuda/sample_tokens.h"
#include "megalith/ops/check.h"
#include "megalith/ops/largest_column.h"

namespace megalith {

void sample_tokens(const SampleTokensArgs& a, Exec& exec) {
  constexpr const char* kOp = "sample_tokens";
  check_float(kOp, "logits", a.logits, exec);
  check_rows(kOp, "logits", a.logits);
  const int64_t rows = a.logits.rows(), columns = a.logits.dim(-1);
  MG_CHECK(columns > 0, "{}: there are no logits", kOp);
  check_tensor(kOp, "words", a.words, DType::kI32, {rows}, exec);
  check_tensor(kOp, "out", a.out, DType::kI32, {rows}, exec);
  check_contiguous(kOp, "words", a.words);
  check_contiguous(kOp, "out", a.out);
  MG_CHECK(a.options.temperature >= 0 && a.options.top_k >= 0 && a.options.top_p >= 0 && a.options.top_p <= 1,
           "{}: temperature {}, top_k {}, top_p {}; allowed: from 0, top_p to 1", kOp, a.options.temperature,
           a.options.top_k, a.options.top_p);
  if (a.options.is_greedy()) return largest_column(a.logits, a.out, exec);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) {
      return cuda::sample_tokens({.dtype = a.logits.dtype(),
                                  .rows = rows,
                                  .columns = columns,
                                  .stride = a.logits.row_stride(),
                                  .logits = a.logits.raw(),
                                  .words = a.words.data<int32_t>(),
                                  .options = a.options,
                                  .out = a.out.data<int32_t>()},
                                 exec);
    }
  }
  const std::vector<float> values = to_vector<float>(a.logits);
  for (int64_t row = 0; row < rows; ++row)
    a.out.data<int32_t>()[row] = cpu::sample_token(
        std::span(values).subspan(static_cast<size_t>(row * columns), static_cast<size_t>(columns)),
        a.options, static_cast<uint32_t>(a.words.data<int32_t>()[row]));
}

}  // namespace megalith
