#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/peer_maps.h"

namespace megalith::cuda {
namespace {

__device__ inline int32_t rows_of(const PeerMapArgs& args, int64_t sender, int64_t expert) {
  return args.of.offsets[sender][expert + 1] - args.of.offsets[sender][expert];
}

// An expert each, then a rank each. Since all ranks' offsets begin at 0, their sum at an expert counts the
// rows of all experts before it.
struct CountFromPeers {
  PeerMapArgs args;
  __device__ void operator()(int64_t, int64_t i) const {
    if (i < args.num_experts) {
      of_expert(i);
    } else {
      of_rank(i - args.num_experts);
    }
  }
  __device__ void of_expert(int64_t expert) const {
    const int64_t owner = expert / args.experts_of_rank, first = owner * args.experts_of_rank;
    int32_t begin = 0, before_own = 0, all = 0;  // the expert's rows at its owner
    for (int64_t sender = 0; sender < args.num_ranks; ++sender) {
      const int32_t* offsets = args.of.offsets[sender];
      begin += offsets[expert] - offsets[first];
      const int32_t rows = rows_of(args, sender, expert);
      before_own += sender < args.own_rank ? rows : 0;
      all += rows;
    }
    args.numbers.shifts[expert] = begin + before_own - args.of.offsets[args.own_rank][expert];
    if (owner != args.own_rank) return;
    int32_t* begins = args.numbers.begins + (expert - first) * args.num_ranks;
    for (int64_t sender = 0, row = begin; sender < args.num_ranks; ++sender) {
      begins[sender] = static_cast<int32_t>(row);
      row += rows_of(args, sender, expert);
    }
    const int32_t room = static_cast<int32_t>(args.rows), end = begin + all;
    if (expert == first) args.numbers.offsets[0] = 0;
    args.numbers.offsets[expert - first + 1] = min(end, room);
    if (expert - first + 1 < args.experts_of_rank) return;
    args.numbers.sizes[0] = end;
    if (args.numbers.dropped != nullptr && end > room)
      atomicAdd(args.numbers.dropped, static_cast<double>(end - room));
  }
  __device__ void of_rank(int64_t rank) const {
    int32_t here = 0, there = 0;
    for (int64_t sender = 0; sender < rank; ++sender) here += args.of.counts[sender][args.own_rank];
    for (int64_t sender = 0; sender < args.own_rank; ++sender) there += args.of.counts[sender][rank];
    args.numbers.firsts_here[rank] = here;
    args.numbers.firsts_there[rank] = there;
    if (rank + 1 < args.num_ranks) return;
    here += args.of.counts[rank][args.own_rank];
    args.numbers.firsts_here[args.num_ranks] = here;
    args.numbers.sizes[1] = here;
  }
};

__device__ inline void put(int32_t* peers, int32_t* places, int64_t i, bool is_there, int64_t peer,
                           int64_t place) {
  peers[i] = is_there ? static_cast<int32_t>(peer) : -1;
  places[i] = is_there ? static_cast<int32_t>(place) : 0;
}

// A pair of a token and a rank each, then a choice each.
struct FindWayBack {
  PeerMapArgs args;
  __device__ void operator()(int64_t, int64_t i) const {
    const int64_t pairs = args.num_tokens * args.num_ranks;
    if (i < pairs) {
      const int32_t place = args.of.places[args.own_rank][i];
      const int64_t copy = int64_t{args.numbers.firsts_there[i % args.num_ranks]} + place;
      args.places[i] = copy < args.copies ? place : -1;
      return;
    }
    i -= pairs;
    const int32_t own_row = args.way[i], expert = own_row < 0 ? 0 : args.experts[i];
    const int64_t row = int64_t{args.numbers.shifts[expert]} + own_row;
    put(args.back_peer, args.back_place, i, own_row >= 0 && row < args.rows, expert / args.experts_of_rank,
        row);
  }
};

// A copy each; its rows are entered later.
struct FindCopies {
  PeerMapArgs args;
  __device__ void operator()(int64_t, int64_t copy) const {
    const int32_t* firsts = args.numbers.firsts_here;
    int64_t rank = 0;
    while (rank < args.num_ranks && firsts[rank + 1] <= copy) ++rank;
    const bool is_there = rank < args.num_ranks;
    const int64_t token =
        is_there ? args.of.tokens[rank][args.own_rank * args.num_tokens + copy - firsts[rank]] : 0;
    put(args.source_peer, args.source_place, copy, is_there, rank, token);
    for (int64_t j = 0; j < args.topk; ++j) args.to[copy * args.topk + j] = -1;
  }
};

// The last of `count` ascending numbers that is not above `row`.
__device__ inline int64_t last_up_to(const int32_t* numbers, int64_t count, int64_t row) {
  int64_t begin = 0, end = count;
  while (end - begin > 1) {
    const int64_t middle = (begin + end) / 2;
    if (numbers[middle] <= row) {
      begin = middle;
    } else {
      end = middle;
    }
  }
  return begin;
}

// A row each. Of segments without rows, which begin where another does, the last one up to a row is never
// one: it would end before the row.
struct FindRows {
  PeerMapArgs args;
  __device__ void operator()(int64_t, int64_t row) const {
    const bool is_there = row < args.numbers.sizes[0];
    args.from[row] = is_there ? -1 : kUnusedRow;
    int64_t sender = 0;
    int32_t choice = -1;
    if (is_there) {
      const int64_t segment = last_up_to(args.numbers.begins, args.experts_of_rank * args.num_ranks, row);
      const int64_t expert = args.own_rank * args.experts_of_rank + segment / args.num_ranks;
      sender = segment % args.num_ranks;
      choice = args.of.choices[sender][args.of.offsets[sender][expert] + row - args.numbers.begins[segment]];
    }
    int64_t copy = -1;
    if (choice >= 0)
      copy = int64_t{args.numbers.firsts_here[sender]} +
             args.of.places[sender][choice / args.topk * args.num_ranks + args.own_rank];
    const bool comes = copy >= 0 && copy < args.copies;
    put(args.choice_peer, args.choice_place, row, comes, sender, choice);
    if (copy >= args.copies && args.numbers.dropped != nullptr) atomicAdd(args.numbers.dropped, 1.0);
    if (!comes) return;
    args.from[row] = static_cast<int32_t>(copy);
    args.to[copy * args.topk + choice % args.topk] = static_cast<int32_t>(row);
  }
};

}  // namespace

void count_from_peers(const PeerMapArgs& args, Exec& exec) {
  launch_rows(CountFromPeers{args}, 1, args.num_experts + args.num_ranks, exec);
}

void find_way_back(const PeerMapArgs& args, Exec& exec) {
  launch_rows(FindWayBack{args}, 1, args.num_tokens * (args.num_ranks + args.topk), exec);
}

void find_copies_and_rows(const PeerMapArgs& args, Exec& exec) {
  launch_rows(FindCopies{args}, 1, args.copies, exec);
  launch_rows(FindRows{args}, 1, args.rows, exec);
}

}  // namespace megalith::cuda
