#include <cub/block/block_scan.cuh>

#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/rank_copies.h"

namespace megalith::cuda {
namespace {

constexpr int kScanThreads = 1024;
constexpr int kTokensOfThread = 4;

// A block has a rank: it counts that rank's tokens from the first to the last.
__global__ void __launch_bounds__(kScanThreads) place_copies_kernel(PlaceCopiesArgs args) {
  using Scan = cub::BlockScan<int, kScanThreads>;
  __shared__ typename Scan::TempStorage storage;
  const auto rank = static_cast<int32_t>(blockIdx.x), held = static_cast<int32_t>(args.experts_of_rank);
  int placed = 0;
  for (int64_t begin = 0; begin < args.num_tokens; begin += kScanThreads * kTokensOfThread) {
    const int64_t first = begin + int64_t{threadIdx.x} * kTokensOfThread;
    int goes[kTokensOfThread] = {}, before[kTokensOfThread], count = 0;
#pragma unroll
    for (int i = 0; i < kTokensOfThread; ++i) {
      if (first + i >= args.num_tokens) break;
      const int32_t* experts = args.experts + (first + i) * args.topk;
      for (int64_t j = 0; j < args.topk; ++j) goes[i] |= experts[j] >= 0 && experts[j] / held == rank;
    }
    Scan(storage).ExclusiveSum(goes, before, count);
#pragma unroll
    for (int i = 0; i < kTokensOfThread; ++i) {
      const int64_t t = first + i;
      if (t >= args.num_tokens) break;
      args.places[t * args.num_ranks + rank] = goes[i] ? placed + before[i] : -1;
      if (goes[i]) args.tokens[rank * args.num_tokens + placed + before[i]] = static_cast<int32_t>(t);
    }
    placed += count;
    __syncthreads();  // the storage is used again
  }
  if (threadIdx.x == 0) args.counts[rank] = placed;
}

struct ListCopies {
  ListCopiesArgs args;
  __device__ void operator()(int64_t t, int64_t rank) const {
    const int64_t i = t * args.num_ranks + rank;
    int32_t copy = args.places[i];
    if (copy >= 0) {
      for (int64_t r = 0; r < rank; ++r) copy += args.counts[r];
      args.from[copy] = static_cast<int32_t>(t);
      for (int64_t j = 0; j < args.topk; ++j)
        args.experts_of_copies[copy * args.topk + j] = args.experts[t * args.topk + j];
    }
    args.to[i] = copy;
  }
};

}  // namespace

void place_copies(const PlaceCopiesArgs& args, Exec& exec) {
  place_copies_kernel<<<narrow<unsigned>(args.num_ranks), kScanThreads, 0, exec.cuda().stream()>>>(args);
  MG_CUDA_LAUNCHED();
}

void list_copies(const ListCopiesArgs& args, Exec& exec) {
  launch_rows(ListCopies{args}, args.num_tokens, args.num_ranks, exec);
}

}  // namespace megalith::cuda
