#include "megalith/kernels/cpu/gemm_blocks.h"

#include "megalith/kernels/cpu/gemm_panels.h"
#include "megalith/kernels/cpu/panel_packing.h"

namespace megalith::cpu::MG_ISA {
namespace {

[[gnu::always_inline]] inline int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// What becomes of finished or of partial sums.
template <class T, class Out>
struct Store {
  T alpha, beta;
  const Out* bias;  // of the tile's columns, or null
};

template <class T, class Out>
void store_tile(const T* sums, int64_t sums_stride, const Store<T, Out>& store, int64_t rows, int64_t columns,
                Out* c, int64_t c_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; j += kLanes<T>) {
      Vec<T> value = store.alpha * load_vector(sums + r * sums_stride + j);
      if (store.beta != 0) value += store.beta * load_first(c + r * c_stride + j, columns - j);
      if (store.bias != nullptr) value += load_first(store.bias + j, columns - j);
      store_first(c + r * c_stride + j, value, columns - j);
    }
  }
}

// Tiles of one block and one depth: panels of A against panels of B.
template <class T, class Out>
struct BlockProduct {
  const GemmStep& step;
  Range rows, columns, terms;
  const T* a;
  int64_t a_panel_stride;
  const T* b;  // panel of the block's first columns

  void run() const {
    constexpr GemmTile kTile = kGemmTile<T>;
    for (int64_t j = 0; j < columns.size; j += kTile.columns) {
      const T* b_panel = b + j * step.plan.depth;
      for (int64_t i = 0; i < rows.size; i += kTile.rows) {
        const T* a_panel = a + i / kTile.rows * a_panel_stride;
        // The first two tiles bring the next panel of B near, one half each.
        const T* next = i < 2 * kTile.rows
                            ? b_panel + (kTile.columns + i / kTile.rows * kLanes<T>)*step.plan.depth
                            : a_panel + a_panel_stride;
        run_tile(a_panel, b_panel, next, {rows.begin + i, smaller(kTile.rows, rows.size - i)},
                 {columns.begin + j, smaller(kTile.columns, columns.size - j)});
      }
    }
  }

 private:
  [[gnu::always_inline]] void run_tile(const T* a_panel, const T* b_panel, const T* next, Range tile_rows,
                                       Range tile_columns) const {
    constexpr GemmTile kTile = kGemmTile<T>;
    const GemmProblem& p = step.problem;
    const bool is_first = terms.begin == 0;
    const bool is_last = terms.begin + terms.size == p.k;
    Out* c = static_cast<Out*>(p.c) + tile_rows.begin * p.c_row_stride + tile_columns.begin;
    const Out* bias = p.bias == nullptr ? nullptr : static_cast<const Out*>(p.bias) + tile_columns.begin;
    const auto alpha = static_cast<T>(p.alpha), beta = static_cast<T>(p.beta);
    if constexpr (sizeof(Out) == 2) {
      if (step.plan.keeps_sums) {
        float* sums = step.sums + (tile_rows.begin - step.rows.begin) * step.plan.area_columns +
                      (tile_columns.begin - step.columns.begin);
        multiply_panels<T>({terms.size, a_panel, b_panel, sums, step.plan.area_columns, next}, tile_rows.size,
                           is_first ? Sums::kStart : Sums::kContinue);
        if (is_last)
          store_tile<T, Out>(sums, step.plan.area_columns, {alpha, beta, bias}, tile_rows.size,
                             tile_columns.size, c, p.c_row_stride);
        return;
      }
    } else {
      const bool is_whole =
          tile_columns.size == kTile.columns && tile_rows.size == computed_rows(tile_rows.size);
      const bool is_plain = alpha == 1 && (!is_first || ((beta == 0 || beta == 1) && bias == nullptr));
      if (is_whole && is_plain)
        return multiply_panels<T>({terms.size, a_panel, b_panel, c, p.c_row_stride, next}, tile_rows.size,
                                  is_first && beta == 0 ? Sums::kStart : Sums::kContinue);
    }
    alignas(kVectorBytes) T sums[kTile.rows * kTile.columns];
    multiply_panels<T>({terms.size, a_panel, b_panel, sums, kTile.columns, next}, tile_rows.size,
                       Sums::kStart);
    const Store<T, Out> store =
        is_first ? Store<T, Out>{alpha, beta, bias} : Store<T, Out>{alpha, 1, nullptr};
    store_tile<T, Out>(sums, kTile.columns, store, tile_rows.size, tile_columns.size, c, p.c_row_stride);
  }
};

template <class T, class In, class Out>
void multiply(const GemmStep& step, Range rows, Range columns, T* a) {
  constexpr GemmTile kTile = kGemmTile<T>;
  const GemmProblem& p = step.problem;
  const GemmPlan& plan = step.plan;
  const int64_t a_panel_stride = kTile.rows * plan.depth + kLanes<T>;
  for (int64_t k = 0; k < step.terms.size; k += plan.depth) {
    const Range terms{step.terms.begin + k, smaller(plan.depth, step.terms.size - k)};
    const In* from = static_cast<const In*>(p.a.data);
    from +=
        p.a.transpose ? terms.begin * p.a.row_stride + rows.begin : rows.begin * p.a.row_stride + terms.begin;
    pack_panels<T, kTile.rows, In>({from, p.a.row_stride, rows.size, terms.size, !p.a.transpose}, a,
                                   a_panel_stride);
    const T* b = static_cast<const T*>(step.b) + k * plan.area_columns +
                 (columns.begin - step.columns.begin) * plan.depth;
    BlockProduct<T, Out>{step, rows, columns, terms, a, a_panel_stride, b}.run();
  }
}

template <class T, class In>
void pack(const GemmStep& step, Range panels, Range terms) {
  constexpr GemmTile kTile = kGemmTile<T>;
  const GemmOperand& b = step.problem.b;
  const int64_t first = panels.begin * kTile.columns;
  const int64_t column = step.columns.begin + first;
  const In* from = static_cast<const In*>(b.data);
  from += b.transpose ? column * b.row_stride + terms.begin : terms.begin * b.row_stride + column;
  T* to = static_cast<T*>(step.b) + (terms.begin - step.terms.begin) * step.plan.area_columns +
          first * step.plan.depth;
  const int64_t width = smaller(panels.size * kTile.columns, step.columns.size - first);
  pack_panels<T, kTile.columns, In>({from, b.row_stride, width, terms.size, b.transpose}, to,
                                    kTile.columns * step.plan.depth);
}

}  // namespace

void pack_b(const GemmStep& step, Range panels, Range terms) {
  switch (step.problem.dtype) {
    case DType::kF64:
      return pack<double, double>(step, panels, terms);
    case DType::kBF16:
      return pack<float, bf16>(step, panels, terms);
    case DType::kF16:
      return pack<float, f16>(step, panels, terms);
    default:
      return pack<float, float>(step, panels, terms);
  }
}

void multiply_block(const GemmStep& step, Range rows, Range columns, void* a) {
  const GemmProblem& p = step.problem;
  if (p.dtype == DType::kF64)
    return multiply<double, double, double>(step, rows, columns, static_cast<double*>(a));
  float* panels = static_cast<float*>(a);
  if (p.dtype == DType::kF32) return multiply<float, float, float>(step, rows, columns, panels);
  const auto multiply_halves = [&]<class Half>() {
    if (p.out_dtype == DType::kF32) return multiply<float, Half, float>(step, rows, columns, panels);
    multiply<float, Half, Half>(step, rows, columns, panels);
  };
  if (p.dtype == DType::kBF16) return multiply_halves.template operator()<bf16>();
  multiply_halves.template operator()<f16>();
}

}  // namespace megalith::cpu::MG_ISA
