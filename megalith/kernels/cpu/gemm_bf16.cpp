#include "megalith/kernels/cpu/gemm_bf16.h"

#include <algorithm>

#include <cblas.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "megalith/base/math.h"
#include "megalith/core/exec.h"

namespace megalith::cpu {
namespace {

// A tile and its two operand blocks, 768 KiB in f32, stay in the second-level cache.
constexpr int64_t kTileRows = 256;
constexpr int64_t kTileColumns = 256;
constexpr int64_t kTileDepth = 256;

struct Range {
  int64_t begin, size;
};

Range part(int64_t index, int64_t size, int64_t total) {
  return {index * size, std::min(size, total - index * size)};
}

struct Buffers {
  float* a;
  float* b;
  float* c;
};

// Rows and columns are of op(operand); the block lands as it lies in memory, to be transposed by the product.
void load(const GemmOperand& operand, Range rows, Range columns, Isa isa, float* target) {
  if (operand.transpose) std::swap(rows, columns);
  const bf16* source =
      static_cast<const bf16*>(operand.data) + rows.begin * operand.row_stride + columns.begin;
  MG_ISA_FUNCTION(isa, widen_block)({source, operand.row_stride, rows.size, columns.size, target});
}

void compute_tile(const GemmProblem& p, Range rows, Range columns, Isa isa, const Buffers& buffers) {
  const bool is_direct = p.out_dtype == DType::kF32;
  float* sums =
      is_direct ? static_cast<float*>(p.c) + rows.begin * p.c_row_stride + columns.begin : buffers.c;
  const int64_t sums_stride = is_direct ? p.c_row_stride : columns.size;
  float beta = is_direct ? static_cast<float>(p.beta) : 0.0f;
  if (is_direct && p.bias != nullptr) {
    const float* bias = static_cast<const float*>(p.bias) + columns.begin;
    for (int64_t i = 0; i < rows.size; ++i) std::copy_n(bias, columns.size, sums + i * sums_stride);
    beta = 1;
  }
  for (int64_t step = 0; step < ceil_div(p.k, kTileDepth); ++step) {
    const Range depth = part(step, kTileDepth, p.k);
    load(p.a, rows, depth, isa, buffers.a);
    load(p.b, depth, columns, isa, buffers.b);
    cblas_sgemm(CblasRowMajor, p.a.transpose ? CblasTrans : CblasNoTrans,
                p.b.transpose ? CblasTrans : CblasNoTrans, static_cast<int>(rows.size),
                static_cast<int>(columns.size), static_cast<int>(depth.size), static_cast<float>(p.alpha),
                buffers.a, static_cast<int>(p.a.transpose ? rows.size : depth.size), buffers.b,
                static_cast<int>(p.b.transpose ? depth.size : columns.size), beta, sums,
                static_cast<int>(sums_stride));
    beta = 1;
  }
  if (is_direct) return;
  bf16* target = static_cast<bf16*>(p.c) + rows.begin * p.c_row_stride + columns.begin;
  const bf16* bias = p.bias == nullptr ? nullptr : static_cast<const bf16*>(p.bias) + columns.begin;
  MG_ISA_FUNCTION(isa, round_block)
  ({sums, rows.size, columns.size, bias, static_cast<float>(p.beta), target, p.c_row_stride});
}

}  // namespace

void gemm_bf16(const GemmProblem& problem, Exec& exec) {
  const int64_t row_tiles = ceil_div(problem.m, kTileRows);
  const int64_t column_tiles = ceil_div(problem.n, kTileColumns);
  const int64_t a_size = kTileRows * kTileDepth;
  const int64_t b_size = kTileColumns * kTileDepth;
  const int64_t thread_size = a_size + b_size + kTileRows * kTileColumns;
  const int num_threads = static_cast<int>(std::min<int64_t>(exec.num_threads(), row_tiles * column_tiles));
  ScratchFrame frame(exec.scratch());
  float* scratch = frame.take<float>(num_threads * thread_size, "gemm bf16 tiles");
  const Isa isa = exec.isa();
#pragma omp parallel for num_threads(num_threads) schedule(static)
  for (int64_t tile = 0; tile < row_tiles * column_tiles; ++tile) {
#ifdef _OPENMP
    float* mine = scratch + omp_get_thread_num() * thread_size;
#else
    float* mine = scratch;
#endif
    compute_tile(problem, part(tile % row_tiles, kTileRows, problem.m),
                 part(tile / row_tiles, kTileColumns, problem.n), isa,
                 {mine, mine + a_size, mine + a_size + b_size});
  }
}

}  // namespace megalith::cpu
