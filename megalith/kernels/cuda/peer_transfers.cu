#include "megalith/kernels/cuda/device/bulk_copy.cuh"
#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/device/shared_barrier.cuh"
#include "megalith/kernels/cuda/peer_transfers.h"

namespace megalith::cuda {
namespace {

// Copies stand sorted by the rank at their other end. Were they visited as they stand, all ranks would use
// the links of the first one, then of the second. So they are visited by turns in this many parts: at every
// moment each rank has its share. Prime, so that a warp's visits do not stay in one part.
constexpr int64_t kParts = 61;
struct Turns {
  int64_t copies, length;
  explicit Turns(int64_t count) : copies(count), length(ceil_div<int64_t>(count, kParts)) {}
  __host__ __device__ int64_t count() const { return kParts * length; }
  /// From `copies` on there is none.
  __device__ int64_t copy(int64_t turn) const { return turn % kParts * length + turn / kParts; }
};

constexpr int kCarriers = 8;  // warps of a block, each with a piece of a row on its way
constexpr int kPieceBytes = 8192;
struct Pieces {
  int64_t row_bytes, count, bytes;
  explicit Pieces(int64_t bytes_of_row)
      : row_bytes(bytes_of_row),
        count(ceil_div<int64_t>(bytes_of_row, kPieceBytes)),
        bytes(round_up<int64_t>(ceil_div(bytes_of_row, count), kVectorBytes)) {}
};

// Lanes look at 32 of the warp's rows at once, then clear together those that need it.
__device__ void clear_rows(const SpreadRowsArgs& args, int64_t row_bytes, int64_t first, int64_t step) {
  for (int64_t begin = first; begin < args.rows; begin += kWarp * step) {
    const int64_t row = begin + threadIdx.x * step;
    uint32_t empty = __ballot_sync(~0u, row < args.rows && args.from[row] == -1);
    for (; empty != 0; empty &= empty - 1) {
      char* out = static_cast<char*>(args.out) + (begin + (__ffs(empty) - 1) * step) * row_bytes;
      for (int64_t byte = threadIdx.x * kVectorBytes; byte < row_bytes; byte += kWarp * kVectorBytes)
        *reinterpret_cast<uint4*>(out + byte) = uint4{};
    }
  }
}

// A warp has one piece of a copy's row at a time: from its owner into shared memory, from there to all its
// rows. Many warps keep the links busy; a row's way on is hidden behind the others' way here.
__global__ void __launch_bounds__(kCarriers* kWarp)
    spread_rows_kernel(const __grid_constant__ SpreadRowsArgs args, const Turns turns, const Pieces pieces) {
  extern __shared__ __align__(128) char shared[];
  __shared__ uint64_t barriers[kCarriers];
  const uint32_t barrier = shared_address(barriers + threadIdx.y);
  const uint32_t piece = shared_address(shared + threadIdx.y * kPieceBytes);
  const bool is_leader = threadIdx.x == 0;
  if (is_leader) {
    init_barrier(barrier, 1);
    publish_barriers();
  }
  __syncwarp();
  const int64_t first = int64_t{threadIdx.y} * gridDim.x + blockIdx.x, step = int64_t{gridDim.x} * kCarriers;
  clear_rows(args, pieces.row_bytes, first, step);
  uint32_t parity = 0;
  for (int64_t i = first; i < turns.count() * pieces.count; i += step) {
    const int64_t copy = turns.copy(i / pieces.count);
    const int32_t peer = copy < args.copies ? args.peer[copy] : -1;
    if (peer < 0) continue;
    const int64_t begin = i % pieces.count * pieces.bytes;
    const auto bytes = static_cast<uint32_t>(min(pieces.bytes, pieces.row_bytes - begin));
    if (is_leader) {
      arrive_expecting(barrier, bytes);
      const char* source = static_cast<const char*>(args.sources[peer]);
      load_bulk(piece, source + args.place[copy] * pieces.row_bytes + begin, bytes, barrier);
    }
    for (int64_t k = threadIdx.x; k < round_up<int64_t>(args.topk, kWarp); k += kWarp) {
      const int32_t row = k < args.topk ? args.to[copy * args.topk + k] : -1;
      if (k < kWarp) wait_for(barrier, parity);
      if (row >= 0) store_bulk(static_cast<char*>(args.out) + row * pieces.row_bytes + begin, piece, bytes);
    }
    end_bulk_stores();
    wait_until_stores_have_read();
    __syncwarp();
    parity ^= 1;
  }
  wait_for_bulk_stores();
}

// What the copy engine cannot carry.
template <class T>
struct SpreadElements {
  SpreadRowsArgs args;
  __device__ void operator()(int64_t copy, int64_t col) const {
    const int32_t peer = args.peer[copy];
    if (peer < 0) return;
    const T x = static_cast<const T*>(args.sources[peer])[args.place[copy] * args.cols + col];
    for (int64_t k = 0; k < args.topk; ++k) {
      const int64_t row = args.to[copy * args.topk + k];
      if (row >= 0) static_cast<T*>(args.out)[row * args.cols + col] = x;
    }
  }
};
template <class T>
struct ClearElements {
  SpreadRowsArgs args;
  __device__ void operator()(int64_t row, int64_t col) const {
    if (args.from[row] == -1) static_cast<T*>(args.out)[row * args.cols + col] = T(0);
  }
};

constexpr int kSumWarps = 8;
constexpr int kAhead = 4;  // vectors of a row on their way at a time

// By an instruction for a whole vector: left to itself the compiler may store elements, and a link carries
// each by itself.
template <class T, int kCount>
__device__ void store_sum(T* place, const acc_t<T> (&sum)[kCount]) {
  Vector<T, kCount> vector;
#pragma unroll
  for (int c = 0; c < kCount; ++c) vector.element[c] = from_acc<T>(sum[c]);
  if constexpr (sizeof(vector) == sizeof(uint4)) {
    __stcg(reinterpret_cast<uint4*>(place), __builtin_bit_cast(uint4, vector));
  } else {
    *reinterpret_cast<Vector<T, kCount>*>(place) = vector;
  }
}

// A warp's sum of rows: row(k), k ascending; null: no term.
template <class T, int kCount, class Row>
__device__ void sum_rows(T* out, int64_t cols, int64_t terms, Row row) {
  constexpr int64_t kStep = int64_t{kWarp} * kCount;
  for (int64_t first = int64_t{threadIdx.x} * kCount; first - threadIdx.x * kCount < cols;
       first += kAhead * kStep) {
    acc_t<T> sums[kAhead][kCount] = {};
    for (int64_t begin = 0; begin < terms; begin += kWarp) {
      const auto mine =
          reinterpret_cast<uintptr_t>(begin + threadIdx.x < terms ? row(begin + threadIdx.x) : nullptr);
      for (uint32_t left = __ballot_sync(~0u, mine != 0); left != 0; left &= left - 1) {
        const T* x = reinterpret_cast<const T*>(__shfl_sync(~0u, mine, __ffs(left) - 1));
        Vector<T, kCount> term[kAhead];
#pragma unroll
        for (int i = 0; i < kAhead; ++i)
          if (first + i * kStep < cols) term[i] = load_vector<kCount>(x + first + i * kStep);
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
          if (first + i * kStep >= cols) break;
#pragma unroll
          for (int c = 0; c < kCount; ++c) sums[i][c] += to_acc(term[i].element[c]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      if (first + i * kStep < cols) store_sum<T, kCount>(out + first + i * kStep, sums[i]);
  }
}

template <class T, int kCount>
__global__ void __launch_bounds__(kSumWarps* kWarp)
    send_sums_kernel(const __grid_constant__ SendSumsArgs args, const Turns turns) {
  const int64_t copy = turns.copy(int64_t{blockIdx.x} * kSumWarps + threadIdx.y);
  const int32_t peer = copy < args.copies ? args.peer[copy] : -1;
  if (peer < 0) return;
  const int64_t slot = args.own_rank * args.num_tokens + args.place[copy];
  sum_rows<T, kCount>(static_cast<T*>(args.slots[peer]) + slot * args.cols, args.cols, args.topk,
                      [&](int64_t k) -> const T* {
                        const int64_t row = args.to[copy * args.topk + k];
                        return row < 0 ? nullptr : static_cast<const T*>(args.rows) + row * args.cols;
                      });
}

template <class T, int kCount>
__global__ void __launch_bounds__(kSumWarps* kWarp) add_sums_kernel(const AddSumsArgs args) {
  const int64_t t = int64_t{blockIdx.x} * kSumWarps + threadIdx.y;
  if (t >= args.num_tokens) return;
  sum_rows<T, kCount>(
      static_cast<T*>(args.out) + t * args.cols, args.cols, args.num_ranks, [&](int64_t rank) -> const T* {
        const T* slots = static_cast<const T*>(args.slots);
        return args.places[t * args.num_ranks + rank] < 0 ? nullptr
                                                          : slots + (rank * args.num_tokens + t) * args.cols;
      });
}

constexpr dim3 kSumBlock(kWarp, kSumWarps);
unsigned sum_blocks(int64_t rows) {
  return narrow<unsigned>(ceil_div<int64_t>(rows, kSumWarps));
}

template <class Places>
bool fit(int count, size_t item_bytes, int64_t cols, const void* own, const Places& places) {
  bool fits = vectors_fit(count, static_cast<int64_t>(item_bytes), cols, {}, {own});
  for (const void* place : places)
    fits = fits && vectors_fit(count, static_cast<int64_t>(item_bytes), cols, {}, {place});
  return fits;
}

}  // namespace

void spread_rows(const SpreadRowsArgs& args, Exec& exec) {
  if (args.rows == 0 || args.cols == 0) return;
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    if (!fit(kCount, sizeof(T), args.cols, args.out, args.sources)) {
      launch_rows(ClearElements<T>{args}, args.rows, args.cols, exec);
      return launch_rows(SpreadElements<T>{args}, args.copies, args.cols, exec);
    }
    constexpr int kSharedBytes = kCarriers * kPieceBytes;
    MG_CUDA_CHECK(
        cudaFuncSetAttribute(spread_rows_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
    spread_rows_kernel<<<static_cast<unsigned>(exec.cuda().limits().sm_count), dim3(kWarp, kCarriers),
                         kSharedBytes, exec.cuda().stream()>>>(
        args, Turns(args.copies), Pieces(args.cols * static_cast<int64_t>(sizeof(T))));
    MG_CUDA_LAUNCHED();
  });
}

void send_sums(const SendSumsArgs& args, Exec& exec) {
  if (args.copies == 0 || args.cols == 0) return;
  const Turns turns(args.copies);
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    auto* kernel = fit(kCount, sizeof(T), args.cols, args.rows, args.slots) ? send_sums_kernel<T, kCount>
                                                                            : send_sums_kernel<T, 1>;
    kernel<<<sum_blocks(turns.count()), kSumBlock, 0, exec.cuda().stream()>>>(args, turns);
  });
  MG_CUDA_LAUNCHED();
}

void add_sums(const AddSumsArgs& args, Exec& exec) {
  if (args.num_tokens == 0 || args.cols == 0) return;
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    auto* kernel = vectors_fit(kCount, sizeof(T), args.cols, {}, {args.slots, args.out})
                       ? add_sums_kernel<T, kCount>
                       : add_sums_kernel<T, 1>;
    kernel<<<sum_blocks(args.num_tokens), kSumBlock, 0, exec.cuda().stream()>>>(args);
  });
  MG_CUDA_LAUNCHED();
}

}  // namespace megalith::cuda
