#include "megalith/kernels/cpu/gemm.h"

#include <algorithm>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "megalith/base/math.h"
#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/gemm_blocks.h"
#include "megalith/kernels/cpu/gemm_rows.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {
namespace {

// Without terms to sum over: C = beta * C + bias.
template <class T>
void scale_rows(const GemmProblem& p) {
  using Sum = accumulate_t<T>;
  const T* bias = static_cast<const T*>(p.bias);
  for (int64_t i = 0; i < p.m; ++i) {
    T* c = static_cast<T*>(p.c) + i * p.c_row_stride;
    for (int64_t j = 0; j < p.n; ++j) {
      Sum value = bias == nullptr ? Sum{0} : static_cast<Sum>(bias[j]);
      if (p.beta != 0) value += static_cast<Sum>(p.beta) * static_cast<Sum>(c[j]);
      c[j] = T(value);
    }
  }
}

int64_t thread_index() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

int64_t count_parts(Range whole, int64_t size) {
  return ceil_div(whole.size, size);
}

Range part_of(Range whole, int64_t size, int64_t index) {
  return {whole.begin + index * size, std::min(size, whole.size - index * size)};
}

// What one thread packs of B at a time: some panels, one depth of them.
constexpr int64_t kPackedPanels = 8;

// To be met by all threads of the team at once; ends with all of them.
void take_step(const GemmStep& step, Isa isa, std::byte* a) {
  const GemmPlan& plan = step.plan;
  const Range panels{0, ceil_div(step.columns.size, plan.tile.columns)};
  const int64_t groups = count_parts(panels, kPackedPanels);
  const int64_t depths = count_parts(step.terms, plan.depth);
#pragma omp for schedule(dynamic)
  for (int64_t i = 0; i < groups * depths; ++i) {
    MG_ISA_FUNCTION(isa, pack_b)
    (step, part_of(panels, kPackedPanels, i % groups), part_of(step.terms, plan.depth, i / groups));
  }
  const int64_t blocks = count_parts(step.rows, plan.block_rows);
  const int64_t strips = count_parts(step.columns, plan.block_columns);
#pragma omp for schedule(dynamic)
  for (int64_t i = 0; i < blocks * strips; ++i) {
    MG_ISA_FUNCTION(isa, multiply_block)
    (step, part_of(step.rows, plan.block_rows, i % blocks),
     part_of(step.columns, plan.block_columns, i / blocks), a);
  }
}

void multiply_blocked(const GemmProblem& p, Exec& exec) {
  const Isa isa = exec.isa();
  const GemmPlan plan = plan_gemm(p, isa, exec.num_threads());
  const int64_t element_bytes = p.dtype == DType::kF64 ? 8 : 4;
  const int64_t a_bytes =
      round_up<int64_t>(ceil_div(plan.block_rows, plan.tile.rows) *
                            (plan.tile.rows * plan.depth + plan.tile.columns) * element_bytes,
                        64);
  ScratchFrame frame(exec.scratch());
  auto* b = frame.take<std::byte>(plan.chunk_depth * plan.area_columns * element_bytes, "gemm panels of B");
  auto* a = frame.take<std::byte>(plan.num_threads * a_bytes, "gemm panels of A");
  float* sums =
      plan.keeps_sums ? frame.take<float>((plan.area_rows + 1) * plan.area_columns, "gemm sums") : nullptr;
  const Range all_rows{0, p.m}, all_columns{0, p.n}, all_terms{0, p.k};
#pragma omp parallel num_threads(plan.num_threads)
  for (int64_t i = 0; i < count_parts(all_rows, plan.area_rows); ++i) {
    for (int64_t j = 0; j < count_parts(all_columns, plan.area_columns); ++j) {
      for (int64_t k = 0; k < count_parts(all_terms, plan.chunk_depth); ++k) {
        take_step({p, plan, part_of(all_rows, plan.area_rows, i), part_of(all_columns, plan.area_columns, j),
                   part_of(all_terms, plan.chunk_depth, k), b, sums},
                  isa, a + thread_index() * a_bytes);
      }
    }
  }
}

}  // namespace

void gemm(const GemmProblem& problem, Exec& exec) {
  if (problem.m == 0 || problem.n == 0) return;
  if (problem.k == 0) {
    return dispatch_dtype<double, float, bf16, f16>(problem.out_dtype, "gemm",
                                                    [&]<class T>() { scale_rows<T>(problem); });
  }
  if (problem.m <= kMaxGemmRows && !problem.a.transpose && problem.b.transpose) {
    const int num_threads = threads_for(problem.n * problem.k, exec.num_threads());
    return MG_ISA_FUNCTION(exec.isa(), gemm_rows)(problem, num_threads);
  }
  multiply_blocked(problem, exec);
}

}  // namespace megalith::cpu
