#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/peer_rows.h"

namespace megalith::cuda {
namespace {

constexpr int kRowWarps = 8;
constexpr int kAhead = 4;  // vectors of a row on their way at a time: a link is far

// A warp has a row.
template <class T, int kCount>
__global__ void combine_peer_rows_kernel(const __grid_constant__ CombinePeerRowsArgs args) {
  const int64_t row = int64_t{blockIdx.x} * kRowWarps + threadIdx.y;
  if (row >= args.rows) return;
  const int32_t* peer = args.peer + row * args.terms;
  const int32_t* place = args.place + row * args.terms;
  T* out = static_cast<T*>(args.out) + row * args.cols;
  constexpr int64_t kStep = int64_t{kWarp} * kCount;
  for (int64_t first = int64_t{threadIdx.x} * kCount; first < args.cols; first += kAhead * kStep) {
    acc_t<T> sums[kAhead][kCount] = {};
    for (int64_t k = 0; k < args.terms; ++k) {
      if (peer[k] < 0) continue;
      const T* source = static_cast<const T*>(args.sources[peer[k]]) + place[k] * args.cols;
      Vector<T, kCount> x[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int64_t col = first + i * kStep;
        if (col < args.cols) x[i] = load_vector<kCount>(source + col);
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (first + i * kStep >= args.cols) break;
#pragma unroll
        for (int c = 0; c < kCount; ++c) sums[i][c] += to_acc(x[i].element[c]);
      }
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      if (first + i * kStep < args.cols) store_acc(out + first + i * kStep, sums[i]);
  }
}

// One column: a thread has a row.
template <class T>
struct CombinePeerElements {
  CombinePeerRowsArgs args;
  __device__ void operator()(int64_t, int64_t row) const {
    acc_t<T> sum = 0;
    for (int64_t k = 0; k < args.terms; ++k) {
      const int32_t peer = args.peer[row * args.terms + k];
      if (peer < 0) continue;
      sum += to_acc(static_cast<const T*>(args.sources[peer])[args.place[row * args.terms + k]]);
    }
    static_cast<T*>(args.out)[row] = from_acc<T>(sum);
  }
};

struct FindArrivals {
  FindArrivalsArgs args;
  __device__ void operator()(int64_t, int64_t row) const {
    if (row >= args.arriving_rows) {
      args.peer[row] = -1;
      args.place[row] = 0;
      return;
    }
    int64_t begin = 0, end = args.num_segments;  // the last segment that begins at the row or before it
    while (end - begin > 1) {
      const int64_t middle = (begin + end) / 2;
      if (args.segments[3 * middle + 2] <= row) {
        begin = middle;
      } else {
        end = middle;
      }
    }
    const int32_t* segment = args.segments + 3 * begin;
    const int32_t choice = args.choices[segment[0]][segment[1] + row - segment[2]];
    args.peer[row] = choice < 0 ? -1 : segment[0];
    args.place[row] = max(choice, 0);
  }
};

struct FindWayBack {
  FindWayBackArgs args;
  __device__ void operator()(int64_t, int64_t i) const {
    const int32_t row = args.rows[i], expert = row < 0 ? 0 : args.experts[i];
    args.peer[i] = row < 0 ? -1 : static_cast<int32_t>(expert / args.experts_of_rank);
    args.place[i] = row < 0 ? 0 : row + args.shifts[expert];
  }
};

struct FindCopies {
  FindCopiesArgs args;
  __device__ void operator()(int64_t, int64_t copy) const {
    int64_t rank = 0;
    while (rank < args.num_ranks && args.firsts[rank + 1] <= copy) ++rank;
    const bool is_there = rank < args.num_ranks;
    args.peer[copy] = is_there ? static_cast<int32_t>(rank) : -1;
    args.place[copy] =
        is_there ? args.tokens[rank][args.own_rank * args.num_tokens + copy - args.firsts[rank]] : 0;
  }
};

struct PlaceRowsOfCopies {
  FindCopiesArgs args;
  __device__ void operator()(int64_t, int64_t row) const {
    const int32_t peer = args.arrival_peer[row], choice = args.arrival_place[row];
    args.from[row] = -1;
    if (peer < 0) return;
    const int64_t token = choice / args.topk;
    const int64_t copy = args.firsts[peer] + args.places[peer][token * args.num_ranks + args.own_rank];
    args.from[row] = static_cast<int32_t>(copy);
    args.to[copy * args.topk + choice % args.topk] = static_cast<int32_t>(row);
  }
};

struct LocateCopies {
  LocateCopiesArgs args;
  __device__ void operator()(int64_t t, int64_t rank) const {
    const int64_t i = t * args.num_ranks + rank;
    const int32_t place = args.places[i];
    args.peer[i] = place < 0 ? -1 : static_cast<int32_t>(rank);
    args.place[i] = place < 0 ? 0 : args.firsts[rank] + place;
  }
};

}  // namespace

void combine_peer_rows(const CombinePeerRowsArgs& args, Exec& exec) {
  if (args.rows == 0 || args.cols == 0) return;
  const auto grid = narrow<unsigned>(ceil_div<int64_t>(args.rows, kRowWarps));
  const dim3 block(kWarp, kRowWarps);
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    if (args.cols == 1) return launch_rows(CombinePeerElements<T>{args}, 1, args.rows, exec);
    bool fits = vectors_fit(kCount, sizeof(T), args.cols, {}, {args.out});
    for (const void* source : args.sources)
      fits = fits && vectors_fit(kCount, sizeof(T), args.cols, {}, {source});
    if (fits) {
      combine_peer_rows_kernel<T, kCount><<<grid, block, 0, exec.cuda().stream()>>>(args);
    } else {
      combine_peer_rows_kernel<T, 1><<<grid, block, 0, exec.cuda().stream()>>>(args);
    }
    MG_CUDA_LAUNCHED();
  });
}

void find_arrivals(const FindArrivalsArgs& args, Exec& exec) {
  launch_rows(FindArrivals{args}, 1, args.rows, exec);
}

void find_way_back(const FindWayBackArgs& args, Exec& exec) {
  launch_rows(FindWayBack{args}, 1, args.num_choices, exec);
}

void find_copies(const FindCopiesArgs& args, Exec& exec) {
  launch_rows(FindCopies{args}, 1, args.copies, exec);
  launch_rows(PlaceRowsOfCopies{args}, 1, args.rows, exec);
}

void locate_copies(const LocateCopiesArgs& args, Exec& exec) {
  launch_rows(LocateCopies{args}, args.num_tokens, args.num_ranks, exec);
}

}  // namespace megalith::cuda
