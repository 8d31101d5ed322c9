#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/expert_gemm.h"
#include "megalith/kernels/cuda/expert_tile_mma.cuh"
#include "megalith/kernels/cuda/expert_tile_plain.cuh"
#include "megalith/kernels/cuda/expert_tile_warpgroup.cuh"

namespace megalith::cuda {
namespace {

// A block's tile of y_e = x_e op(w_e); blockIdx.x counts tiles of columns, blockIdx.y those of all rows.
template <class Tile>
struct RowsOfExpert {
  ExpertTable table;
  TileProblem p;  // a: all of x; c: all of y
  int64_t a_bytes, c_bytes;
  __device__ bool find(TileProblem& tile, int64_t& row0, int64_t& col0) const {
    const ExpertPlace place = find_expert_tile(table.offsets, table.num_experts, Tile::kRows, blockIdx.y);
    if (place.expert < 0) return false;
    tile = p;
    tile.a = static_cast<const char*>(p.a) + place.begin * p.a_row * a_bytes;
    tile.b = table.matrices[place.expert];
    tile.c = static_cast<char*>(p.c) + place.begin * p.c_row * c_bytes;
    tile.m = place.end - place.begin;
    row0 = place.tile * Tile::kRows;
    col0 = int64_t{blockIdx.x} * Tile::kCols;
    return true;
  }
};

// A block's tile of d_w_e (+)= d_y_e^T x_e; blockIdx.z is the expert.
template <class Tile>
struct GradientOfExpert {
  ExpertTable table;
  TileProblem p;  // a: all of d_y; b: all of x
  int64_t bytes;
  __device__ bool find(TileProblem& tile, int64_t& row0, int64_t& col0) const {
    const int expert = static_cast<int>(blockIdx.z);
    const int64_t begin = table.offsets[expert], end = table.offsets[expert + 1];
    tile = p;
    tile.accumulates = (table.accumulates[expert / 32] >> (expert % 32) & 1) != 0;
    if (begin == end && tile.accumulates) return false;
    tile.a = static_cast<const char*>(p.a) + begin * p.a_col * bytes;
    tile.b = static_cast<const char*>(p.b) + begin * p.b_col * bytes;
    tile.c = table.matrices[expert];
    tile.k = end - begin;
    row0 = int64_t{blockIdx.y} * Tile::kRows;
    col0 = int64_t{blockIdx.x} * Tile::kCols;
    return true;
  }
};

template <class Tile, class Work>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksOfMultiprocessor)
    mma_kernel(const __grid_constant__ Work work) {
  extern __shared__ __align__(128) unsigned char shared[];
  TileProblem tile;
  int64_t row0, col0;
  if (work.find(tile, row0, col0)) Tile::run(tile, row0, col0, shared);
}

template <class Tile, class Work>
__global__ void __launch_bounds__(Tile::kThreads) plain_kernel(const __grid_constant__ Work work) {
  TileProblem tile;
  int64_t row0, col0;
  if (work.find(tile, row0, col0)) Tile::run(tile, row0, col0);
}

template <class Tile, class Work>
void launch_mma(const Work& work, dim3 grid, Exec& exec) {
  const auto kernel = mma_kernel<Tile, Work>;
  MG_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(Tile::kSharedBytes)));
  kernel<<<grid, Tile::kThreads, Tile::kSharedBytes, exec.cuda().stream()>>>(work);
  MG_CUDA_LAUNCHED();
}

template <class Tile, class Work>
void launch_plain(const Work& work, dim3 grid, Exec& exec) {
  plain_kernel<Tile, Work><<<grid, Tile::kThreads, 0, exec.cuda().stream()>>>(work);
  MG_CUDA_LAUNCHED();
}

// What multiplies: tensor cores through registers or on their own, or plain multiplications.
enum class Core { kPlain, kMma, kWarpgroup };

Core core_of(bool takes_vectors, int64_t cols, Exec& exec) {
  if (!takes_vectors) return Core::kPlain;
  constexpr int64_t kNarrow = 128;  // half of a warpgroup' tile would be for nothing
  return exec.cuda().limits().arch == 90 && cols > kNarrow ? Core::kWarpgroup : Core::kMma;
}

unsigned tiles_of(int64_t count, int tile) {
  return narrow<unsigned>(ceil_div<int64_t>(count, tile));
}

// 16 bytes from each of these rows at a time.
bool is_aligned(const void* place, int64_t stride) {
  return reinterpret_cast<uintptr_t>(place) % 16 == 0 && stride % 8 == 0;
}

template <class Tile>
dim3 grid_of_rows(const ExpertGemmArgs& args, int num_experts) {
  // Each expert may end in a tile that is not full.
  const int64_t row_tiles =
      ceil_div<int64_t>(args.rows, Tile::kRows) + std::min<int64_t>(num_experts, args.rows);
  MG_CHECK(row_tiles <= 65535, "grouped_gemm: {} rows are more than a launch takes", args.rows);
  return {tiles_of(args.n, Tile::kCols), static_cast<unsigned>(row_tiles)};
}

void launch_rows_of(const ExpertGemmArgs& args, const ExpertTable& table, const TileProblem& p, Core core,
                    Exec& exec) {
  const int64_t in = static_cast<int64_t>(size_of(args.dtype)),
                out = static_cast<int64_t>(size_of(args.out_dtype));
  const auto mma = [&]<class Tile>() {
    launch_mma<Tile>(RowsOfExpert<Tile>{table, p, in, out}, grid_of_rows<Tile>(args, table.num_experts),
                     exec);
  };
  const auto plain = [&]<class Tile>() {
    launch_plain<Tile>(RowsOfExpert<Tile>{table, p, in, out}, grid_of_rows<Tile>(args, table.num_experts),
                       exec);
  };
  const bool is_f32 = args.out_dtype == DType::kF32;
  if (core == Core::kWarpgroup) {
    using enum RowsAlong;
    if (args.transpose_w && is_f32) return mma.operator()<WarpgroupTile<kSum, kSum, float>>();
    if (args.transpose_w) return mma.operator()<WarpgroupTile<kSum, kSum, Bf16>>();
    if (is_f32) return mma.operator()<WarpgroupTile<kSum, kResult, float>>();
    return mma.operator()<WarpgroupTile<kSum, kResult, Bf16>>();
  }
  if (core == Core::kMma) {
    if (args.transpose_w && is_f32) return mma.operator()<MmaTile<Major::kSum, Major::kSum, float>>();
    if (args.transpose_w) return mma.operator()<MmaTile<Major::kSum, Major::kSum, Bf16>>();
    if (is_f32) return mma.operator()<MmaTile<Major::kSum, Major::kOther, float>>();
    return mma.operator()<MmaTile<Major::kSum, Major::kOther, Bf16>>();
  }
  if (args.dtype == DType::kF64) return plain.operator()<PlainTile<double, double>>();
  if (args.dtype == DType::kF32) return plain.operator()<PlainTile<float, float>>();
  if (is_f32) return plain.operator()<PlainTile<Bf16, float>>();
  plain.operator()<PlainTile<Bf16, Bf16>>();
}

void launch_gradients(const ExpertGradientArgs& args, const ExpertTable& table, const TileProblem& p,
                      Core core, Exec& exec) {
  const int64_t bytes = static_cast<int64_t>(size_of(args.dtype));
  const auto grid_of = [&]<class Tile>() {
    return dim3(tiles_of(args.k, Tile::kCols), tiles_of(args.n, Tile::kRows),
                static_cast<unsigned>(table.num_experts));
  };
  const auto mma = [&]<class Tile>() {
    launch_mma<Tile>(GradientOfExpert<Tile>{table, p, bytes}, grid_of.template operator()<Tile>(), exec);
  };
  const auto plain = [&]<class Tile>() {
    launch_plain<Tile>(GradientOfExpert<Tile>{table, p, bytes}, grid_of.template operator()<Tile>(), exec);
  };
  const bool is_f32 = args.out_dtype == DType::kF32;
  if (core == Core::kWarpgroup) {
    using enum RowsAlong;
    if (is_f32) return mma.operator()<WarpgroupTile<kResult, kResult, float>>();
    return mma.operator()<WarpgroupTile<kResult, kResult, Bf16>>();
  }
  const bool uses_mma = core == Core::kMma;
  if (uses_mma && is_f32) return mma.operator()<MmaTile<Major::kOther, Major::kOther, float>>();
  if (uses_mma) return mma.operator()<MmaTile<Major::kOther, Major::kOther, Bf16>>();
  if (args.dtype == DType::kF64) return plain.operator()<PlainTile<double, double>>();
  if (args.dtype == DType::kF32) return plain.operator()<PlainTile<float, float>>();
  if (is_f32) return plain.operator()<PlainTile<Bf16, float>>();
  plain.operator()<PlainTile<Bf16, Bf16>>();
}

// Calls launch(table, first expert) for as many experts at a time as a table holds.
template <class Launch>
void for_each_table(const int32_t* offsets, size_t num_experts, const Launch& launch) {
  for (size_t first = 0; first < num_experts; first += kMaxTableExperts) {
    ExpertTable table{};
    table.offsets = offsets + first;
    table.num_experts = static_cast<int>(std::min<size_t>(kMaxTableExperts, num_experts - first));
    launch(table, first);
  }
}

}  // namespace

void expert_gemm(const ExpertGemmArgs& args, Exec& exec) {
  if (args.rows == 0 || args.n == 0) return;
  const TileProblem p{.a = args.x,
                      .b = nullptr,
                      .c = args.y,
                      .a_row = args.x_stride,
                      .a_col = 1,
                      .b_row = args.transpose_w ? args.w_stride : 1,
                      .b_col = args.transpose_w ? 1 : args.w_stride,
                      .c_row = args.y_stride,
                      .m = 0,
                      .n = args.n,
                      .k = args.k,
                      .accumulates = false};
  bool takes_vectors = args.dtype == DType::kBF16 && args.k % 8 == 0 && args.n % 8 == 0 &&
                       is_aligned(args.x, args.x_stride) && is_aligned(args.y, args.y_stride);
  for (const void* weight : args.weights) takes_vectors = takes_vectors && is_aligned(weight, args.w_stride);
  const Core core = core_of(takes_vectors, args.n, exec);
  for_each_table(args.offsets, args.weights.size(), [&](ExpertTable& table, size_t first) {
    for (int e = 0; e < table.num_experts; ++e)
      table.matrices[e] = const_cast<void*>(args.weights[first + static_cast<size_t>(e)]);
    launch_rows_of(args, table, p, core, exec);
  });
}

void expert_weight_gradient(const ExpertGradientArgs& args, Exec& exec) {
  if (args.n == 0 || args.k == 0) return;
  const TileProblem p{.a = args.d_y,
                      .b = args.x,
                      .c = nullptr,
                      .a_row = 1,
                      .a_col = args.d_y_stride,
                      .b_row = 1,
                      .b_col = args.x_stride,
                      .c_row = args.d_w_stride,
                      .m = args.n,
                      .n = args.k,
                      .k = 0,
                      .accumulates = false};
  bool takes_vectors = args.dtype == DType::kBF16 && args.k % 8 == 0 && args.n % 8 == 0 &&
                       is_aligned(args.x, args.x_stride) && is_aligned(args.d_y, args.d_y_stride);
  for (const void* weight : args.d_weights)
    takes_vectors = takes_vectors && is_aligned(weight, args.d_w_stride);
  const Core core = core_of(takes_vectors, args.k, exec);
  for_each_table(args.offsets, args.d_weights.size(), [&](ExpertTable& table, size_t first) {
    for (int e = 0; e < table.num_experts; ++e) {
      table.matrices[e] = args.d_weights[first + static_cast<size_t>(e)];
      if (args.betas[first + static_cast<size_t>(e)] != 0) table.accumulates[e / 32] |= 1u << (e % 32);
    }
    launch_gradients(args, table, p, core, exec);
  });
}

}  // namespace megalith::cuda
