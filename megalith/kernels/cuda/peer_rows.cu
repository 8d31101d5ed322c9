#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/peer_rows.h"

namespace megalith::cuda {
namespace {

template <class T>
struct ReadPeerElements {
  ReadPeerElementsArgs args;
  __device__ void operator()(int64_t, int64_t i) const {
    const int32_t peer = args.peer[i];
    static_cast<T*>(args.out)[i] =
        peer < 0 ? T(0.0f) : static_cast<const T*>(args.sources[peer])[args.place[i]];
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

}  // namespace

void read_peer_elements(const ReadPeerElementsArgs& args, Exec& exec) {
  dispatch_device_float(args.dtype,
                        [&]<class T>() { launch_rows(ReadPeerElements<T>{args}, 1, args.count, exec); });
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

}  // namespace megalith::cuda
