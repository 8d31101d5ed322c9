#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/rank_copies.h"

namespace megalith::cuda {
namespace {

// A block has a part of the tokens, of which a thread has one, and a rank.
constexpr int kPartTokens = 256;

__device__ bool goes_to_rank(const PlaceCopiesArgs& args, int64_t token, int64_t rank) {
  if (token >= args.num_tokens) return false;
  const auto held = static_cast<uint32_t>(args.experts_of_rank);
  const uint32_t first = static_cast<uint32_t>(rank) * held;
  const int32_t* experts = args.experts + token * args.topk;
  bool goes = false;
#pragma unroll 8
  for (int64_t j = 0; j < args.topk; ++j) goes |= static_cast<uint32_t>(experts[j]) - first < held;
  return goes;
}

// counts [ranks, parts]
__global__ void __launch_bounds__(kPartTokens) count_copies_kernel(PlaceCopiesArgs args, int32_t* counts) {
  let_next_begin();
  wait_for_last();
  const int64_t part = blockIdx.x, rank = blockIdx.y;
  const int count = __syncthreads_count(goes_to_rank(args, part * kPartTokens + threadIdx.x, rank));
  if (threadIdx.x == 0) counts[rank * gridDim.x + part] = count;
}

__global__ void __launch_bounds__(kPartTokens)
    place_copies_kernel(PlaceCopiesArgs args, const int32_t* counts) {
  using Reduce = cub::BlockReduce<int, kPartTokens>;
  using Scan = cub::BlockScan<int, kPartTokens>;
  __shared__ typename Reduce::TempStorage reduce_storage;
  __shared__ typename Scan::TempStorage scan_storage;
  __shared__ int shared_begin;
  let_next_begin();
  const int64_t part = blockIdx.x, rank = blockIdx.y, t = part * kPartTokens + threadIdx.x;
  wait_for_last();
  int before_part = 0;
  for (int64_t other = threadIdx.x; other < part; other += kPartTokens)
    before_part += counts[rank * gridDim.x + other];
  const int begin = Reduce(reduce_storage).Sum(before_part);
  if (threadIdx.x == 0) shared_begin = begin;
  const int goes = goes_to_rank(args, t, rank) ? 1 : 0;
  int before = 0, count = 0;
  Scan(scan_storage).ExclusiveSum(goes, before, count);
  __syncthreads();
  const int place = shared_begin + before;
  if (t < args.num_tokens) args.places[t * args.num_ranks + rank] = goes != 0 ? place : -1;
  if (goes != 0) args.tokens[rank * args.num_tokens + place] = static_cast<int32_t>(t);
  if (threadIdx.x == 0 && part + 1 == gridDim.x) args.counts[rank] = shared_begin + count;
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
  const int64_t parts = std::max<int64_t>(ceil_div<int64_t>(args.num_tokens, kPartTokens), 1);
  ScratchFrame frame(exec.scratch());
  int32_t* counts = frame.take<int32_t>(args.num_ranks * parts, "copies of parts");
  const dim3 grid(narrow<unsigned>(parts), narrow<unsigned>(args.num_ranks));
  const cudaStream_t stream = exec.cuda().stream();
  MG_CUDA_CHECK(launch_early(count_copies_kernel, grid, kPartTokens, 0, stream, args, counts));
  MG_CUDA_CHECK(launch_early(place_copies_kernel, grid, kPartTokens, 0, stream, args, counts));
}

void list_copies(const ListCopiesArgs& args, Exec& exec) {
  launch_rows(ListCopies{args}, args.num_tokens, args.num_ranks, exec);
}

}  // namespace megalith::cuda
