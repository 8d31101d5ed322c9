#include "megalith/ops/peer_rows.h"

#include "megalith/base/math.h"
#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/peer_rows.h"
#include "megalith/ops/check.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

void check_device(const char* op, size_t num_peers, const Exec& exec) {
  MG_CHECK(exec.device().is_cuda(), "{}: the memory of peers is read by GPUs alone", op);
  MG_CHECK(num_peers <= cuda::kMaxPeers, "{}: {} ranks; at most {} read each other's memory", op, num_peers,
           cuda::kMaxPeers);
}

}  // namespace

void read_peer_elements(const ReadPeerElementsArgs& args, Exec& exec) {
  constexpr const char* kOp = "read_peer_elements";
  check_device(kOp, args.sources.size(), exec);
  check_float(kOp, "out", args.out, exec);
  check_contiguous(kOp, "out", args.out);
  MG_CHECK(args.map.peer.numel() == args.out.numel(), "{}: out is {}, the map {}", kOp,
           args.out.shape().str(), args.map.peer.shape().str());
  check_tensor(kOp, "place", args.map.place, DType::kI32, args.map.peer.shape(), exec);
  if constexpr (kHasCuda) {
    cuda::ReadPeerElementsArgs call{.dtype = args.out.dtype(),
                                    .count = args.out.numel(),
                                    .peer = args.map.peer.data<int32_t>(),
                                    .place = args.map.place.data<int32_t>(),
                                    .out = args.out.raw()};
    for (size_t rank = 0; rank < args.sources.size(); ++rank) call.sources[rank] = args.sources[rank];
    cuda::read_peer_elements(call, exec);
  }
}

PeerRowMap arrival_from_peers(const std::vector<PeerSegment>& segments, int64_t num_rows,
                              std::span<const std::byte* const> lists, Exec& exec) {
  check_device("arrival_from_peers", lists.size(), exec);
  std::vector<int32_t> numbers;
  int64_t rows = 0;
  for (const PeerSegment& segment : segments) {
    if (segment.length == 0) continue;
    for (const int64_t number : {segment.sender, segment.first_row, rows})
      numbers.push_back(narrow<int32_t>(number));
    rows += segment.length;
  }
  MG_CHECK(rows <= num_rows, "arrival_from_peers: {} rows arrive where {} fit", rows, num_rows);
  const PeerRowMap map{.peer = exec.empty({num_rows, 1}, DType::kI32),
                       .place = exec.empty({num_rows, 1}, DType::kI32)};
  const auto count = static_cast<int64_t>(numbers.size()) / 3;
  const Tensor uploaded = exec.from_host(std::span<const int32_t>(numbers), {count, 3});
  if constexpr (kHasCuda) {
    cuda::FindArrivalsArgs call{.rows = num_rows,
                                .arriving_rows = rows,
                                .num_segments = count,
                                .segments = uploaded.data<int32_t>(),
                                .peer = map.peer.data<int32_t>(),
                                .place = map.place.data<int32_t>()};
    for (size_t rank = 0; rank < lists.size(); ++rank)
      call.choices[rank] = reinterpret_cast<const int32_t*>(lists[rank]);
    cuda::find_arrivals(call, exec);
  }
  return map;
}

PeerRowMap way_back_from_peers(const WayBackArgs& args, Exec& exec) {
  constexpr const char* kOp = "way_back_from_peers";
  check_device(kOp, 0, exec);
  check_tensor(kOp, "experts", args.experts, DType::kI32, args.experts.shape(), exec);
  check_tensor(kOp, "rows", args.rows, DType::kI32, args.experts.shape(), exec);
  check_contiguous(kOp, "experts", args.experts);
  check_contiguous(kOp, "rows", args.rows);
  std::vector<int32_t> numbers;
  for (const int64_t shift : args.shifts) numbers.push_back(narrow<int32_t>(shift));
  const Tensor shifts =
      exec.from_host(std::span<const int32_t>(numbers), {static_cast<int64_t>(numbers.size())});
  const PeerRowMap map{.peer = exec.empty(args.experts.shape(), DType::kI32),
                       .place = exec.empty(args.experts.shape(), DType::kI32)};
  if constexpr (kHasCuda) {
    cuda::find_way_back({.num_choices = args.experts.numel(),
                         .experts_of_rank = args.experts_of_rank,
                         .experts = args.experts.data<int32_t>(),
                         .rows = args.rows.data<int32_t>(),
                         .shifts = shifts.data<int32_t>(),
                         .peer = map.peer.data<int32_t>(),
                         .place = map.place.data<int32_t>()},
                        exec);
  }
  return map;
}

PeerCopies copies_from_peers(const CopiesFromPeersArgs& args, Exec& exec) {
  constexpr const char* kOp = "copies_from_peers";
  check_device(kOp, args.tokens.size(), exec);
  const int64_t rows = args.arrival.peer.dim(0);
  const PeerCopies copies{.sources = {.peer = exec.empty({args.num_copies, 1}, DType::kI32),
                                      .place = exec.empty({args.num_copies, 1}, DType::kI32)},
                          .rows = {.from = exec.empty({rows}, DType::kI32),
                                   .to = exec.empty({args.num_copies, args.topk}, DType::kI32)}};
  fill(copies.rows.to, -1, exec);
  if constexpr (kHasCuda) {
    cuda::FindCopiesArgs call{.copies = args.num_copies,
                              .rows = rows,
                              .topk = args.topk,
                              .num_ranks = static_cast<int64_t>(args.counts.size()),
                              .own_rank = args.own_rank,
                              .num_tokens = args.num_tokens,
                              .arrival_peer = args.arrival.peer.data<int32_t>(),
                              .arrival_place = args.arrival.place.data<int32_t>(),
                              .peer = copies.sources.peer.data<int32_t>(),
                              .place = copies.sources.place.data<int32_t>(),
                              .from = copies.rows.from.data<int32_t>(),
                              .to = copies.rows.to.data<int32_t>()};
    int64_t first = 0;
    for (size_t rank = 0; rank < args.counts.size(); ++rank) {
      call.tokens[rank] = reinterpret_cast<const int32_t*>(args.tokens[rank]);
      call.places[rank] = reinterpret_cast<const int32_t*>(args.places[rank]);
      call.firsts[rank] = narrow<int32_t>(first);
      first += args.counts[rank];
    }
    call.firsts[args.counts.size()] = narrow<int32_t>(first);
    MG_CHECK(first <= args.num_copies, "{}: {} copies come where {} fit", kOp, first, args.num_copies);
    cuda::find_copies(call, exec);
  }
  return copies;
}

}  // namespace megalith
