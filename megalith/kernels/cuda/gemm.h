#pragma once
// defines: gemm, allow_tf32, describe_gemm_plans, GemmTuning, tune_gemm_plans

#include <string>

#include "megalith/kernels/cpu/gemm.h"

namespace megalith::cuda {

/// As cpu::gemm, by cuBLASLt on the stream of `exec`. f32 is computed in f32 or as allow_tf32 says, bf16 with
/// sums in f32. The algorithm is that of the table for this GPU (vendor/gemm_table.h), where it has the
/// product, else cuBLASLt's first choice; it is looked up once and kept in `exec`. Few rows go to gemv.h. A
/// bias, and with beta != 0 the old C or the addend, may be added after the product has been rounded to the
/// dtype of C.
void gemm(const cpu::GemmProblem& problem, Exec& exec);

/// ops/gemm.h.
void allow_tf32(Exec& exec);

/// One line for each problem seen so far: sizes, layouts, algorithm, tile, workspace.
std::string describe_gemm_plans(Exec& exec);

struct GemmTuning {
  int64_t min_operations = int64_t{1} << 36;  ///< smaller products keep their algorithm
  int num_candidates = 40;                    ///< of each product, in cuBLASLt's order
  bool tries_all_settings = false;            ///< of these algorithms: thousands, up to 20 s a product
  double min_gain = 0.005;                    ///< a winner must be faster by this share
};
/// Times candidates for every aligned product seen so far, on random operands of its sizes, and gives each
/// plan of `exec` the fastest where that is better than the present one. Returns the table of the plans that
/// are better than cuBLASLt's first choice, for a file that MEGALITH_GEMM_TABLE names. A GPU at its power
/// limit runs at the clock that the limit allows, so what is quick for a moment need not be quick in a
/// training step: the few quickest are run for 0.4 s each, twice; with all settings the quickest two dozen
/// for 0.06 s before. Prints progress.
std::string tune_gemm_plans(const GemmTuning& tuning, Exec& exec);

}  // namespace megalith::cuda
