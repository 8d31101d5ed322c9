#include <cub/block/block_scan.cuh>

#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/sort_small_keys.h"

namespace megalith::cuda {
namespace {

// A part has a block, an entry of it a thread.
constexpr int kPart = 256;
constexpr int kPartWarps = kPart / kWarp;

struct Counts {
  int32_t* before;  // [num_keys, num_parts]: entries of the key in the part; then, in the parts before it
  int32_t* all;     // [num_keys]
  int64_t num_parts;
};

__global__ void __launch_bounds__(kPart) count_keys_kernel(SortSmallKeysArgs args, Counts counts) {
  extern __shared__ int32_t of_part[];
  let_next_begin();
  for (int64_t key = threadIdx.x; key < args.num_keys; key += kPart) of_part[key] = 0;
  wait_for_last();
  __syncthreads();
  const int64_t i = int64_t{blockIdx.x} * kPart + threadIdx.x;
  if (i < args.count) atomicAdd(of_part + args.keys[i], 1);
  __syncthreads();
  for (int64_t key = threadIdx.x; key < args.num_keys; key += kPart)
    counts.before[key * counts.num_parts + blockIdx.x] = of_part[key];
}

// A warp has a key.
__global__ void __launch_bounds__(kPart) add_counts_kernel(int64_t num_keys, Counts counts) {
  let_next_begin();
  wait_for_last();
  const int64_t key = int64_t{blockIdx.x} * kPartWarps + threadIdx.x / kWarp;
  if (key >= num_keys) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int32_t* of_parts = counts.before + key * counts.num_parts;
  int32_t before = 0;
  for (int64_t begin = 0; begin < counts.num_parts; begin += kWarp) {
    const int64_t part = begin + lane;
    const int32_t count = part < counts.num_parts ? of_parts[part] : 0;
    int32_t sum = count;  // up to this lane
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const int32_t other = __shfl_up_sync(~0u, sum, static_cast<unsigned>(step));
      if (lane >= step) sum += other;
    }
    if (part < counts.num_parts) of_parts[part] = before + sum - count;
    before += __shfl_sync(~0u, sum, kWarp - 1);
  }
  if (lane == 0) counts.all[key] = before;
}

__global__ void __launch_bounds__(kPart) place_keys_kernel(SortSmallKeysArgs args, Counts counts) {
  using Scan = cub::BlockScan<int32_t, kPart>;
  __shared__ typename Scan::TempStorage storage;
  extern __shared__ int32_t places[];  // [kPartWarps, num_keys]: entries of the warp, then its first place
  let_next_begin();
  for (int64_t i = threadIdx.x; i < kPartWarps * args.num_keys; i += kPart) places[i] = 0;
  wait_for_last();
  __syncthreads();
  const int64_t i = int64_t{blockIdx.x} * kPart + threadIdx.x;
  const int32_t key = i < args.count ? args.keys[i] : -1;
  const unsigned lane = threadIdx.x % kWarp, alike = __match_any_sync(~0u, key);
  const int rank = __popc(alike & ((1u << lane) - 1));  // among those of the warp
  int32_t* of_warp = places + threadIdx.x / kWarp * args.num_keys;
  if (key >= 0 && rank == 0) of_warp[key] = __popc(alike);
  __syncthreads();
  int32_t smaller = 0;  // entries of all parts with keys before `begin`
  for (int64_t begin = 0; begin < args.num_keys; begin += kPart) {
    const int64_t k = begin + threadIdx.x;
    int32_t place = 0, of_block = 0;
    Scan(storage).ExclusiveSum(k < args.num_keys ? counts.all[k] : 0, place, of_block);
    __syncthreads();  // the storage is used again
    if (k < args.num_keys) {
      place += smaller + counts.before[k * counts.num_parts + blockIdx.x];
      for (int warp = 0; warp < kPartWarps; ++warp) {
        int32_t& first = places[warp * args.num_keys + k];
        const int32_t count = first;
        first = place;
        place += count;
      }
    }
    smaller += of_block;
  }
  __syncthreads();
  if (key < 0) return;
  const int64_t to = of_warp[key] + rank;
  args.sorted_keys[to] = key;
  args.sorted_values[to] = args.values == nullptr ? static_cast<int32_t>(i) : args.values[i];
}

}  // namespace

void sort_small_keys(const SortSmallKeysArgs& args, Exec& exec) {
  if (args.count == 0) return;
  const int64_t parts = ceil_div<int64_t>(args.count, kPart);
  const auto key_bytes = args.num_keys * static_cast<int64_t>(sizeof(int32_t));
  const int64_t bytes = kPartWarps * key_bytes, most = exec.cuda().limits().shared_bytes_per_block - 2048;
  MG_CHECK(bytes <= most, "sort_small_keys: {} keys; at most {}", args.num_keys,
           most * args.num_keys / bytes);
  ScratchFrame frame(exec.scratch());
  const Counts counts{.before = frame.take<int32_t>(args.num_keys * parts, "keys of parts"),
                      .all = frame.take<int32_t>(args.num_keys, "keys"),
                      .num_parts = parts};
  const cudaStream_t stream = exec.cuda().stream();
  const auto blocks = narrow<unsigned>(parts);
  MG_CUDA_CHECK(cudaFuncSetAttribute(place_keys_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     narrow<int>(bytes)));
  MG_CUDA_CHECK(
      launch_early(count_keys_kernel, blocks, kPart, static_cast<size_t>(key_bytes), stream, args, counts));
  MG_CUDA_CHECK(launch_early(add_counts_kernel,
                             narrow<unsigned>(ceil_div<int64_t>(args.num_keys, kPartWarps)), kPart, 0, stream,
                             args.num_keys, counts));
  MG_CUDA_CHECK(
      launch_early(place_keys_kernel, blocks, kPart, static_cast<size_t>(bytes), stream, args, counts));
}

}  // namespace megalith::cuda
