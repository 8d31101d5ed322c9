#include "megalith/ops/peer_transfers.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/peer_transfers.h"
#include "megalith/ops/check.h"

namespace megalith {
namespace {

void check_call(const char* op, const Tensor& rows, const PeerCopies& copies, size_t num_peers, Exec& exec) {
  MG_CHECK(exec.device().is_cuda(), "{}: the memory of peers is reached by GPUs alone", op);
  MG_CHECK(num_peers <= cuda::kMaxPeers, "{}: {} ranks; at most {} reach each other's memory", op, num_peers,
           cuda::kMaxPeers);
  check_float(op, "rows", rows, exec);
  check_contiguous(op, "rows", rows);
  const RowMap& map = copies.rows;
  MG_CHECK(rows.rank() == 2 && map.to.rank() == 2 && map.num_to() == rows.dim(0),
           "{}: rows are {}, the copies' {}", op, rows.shape().str(), map.from.shape().str());
  const Shape one_each{map.num_from(), 1};
  check_tensor(op, "peer", copies.sources.peer, DType::kI32, one_each, exec);
  check_tensor(op, "place", copies.sources.place, DType::kI32, one_each, exec);
}

}  // namespace

void spread_peer_rows(const SpreadPeerRowsArgs& args, Exec& exec) {
  check_call("spread_peer_rows", args.out, args.copies, args.sources.size(), exec);
  if constexpr (kHasCuda) {
    cuda::SpreadRowsArgs call{.dtype = args.out.dtype(),
                              .copies = args.copies.rows.num_from(),
                              .rows = args.out.dim(0),
                              .cols = args.out.dim(1),
                              .topk = args.copies.rows.to.dim(1),
                              .peer = args.copies.sources.peer.data<int32_t>(),
                              .place = args.copies.sources.place.data<int32_t>(),
                              .to = args.copies.rows.to.data<int32_t>(),
                              .from = args.copies.rows.from.data<int32_t>(),
                              .out = args.out.raw()};
    for (size_t rank = 0; rank < args.sources.size(); ++rank) call.sources[rank] = args.sources[rank];
    cuda::spread_rows(call, exec);
  }
}

void send_row_sums(const SendRowSumsArgs& args, Exec& exec) {
  check_call("send_row_sums", args.rows, args.copies, args.slots.size(), exec);
  if constexpr (kHasCuda) {
    cuda::SendSumsArgs call{.dtype = args.rows.dtype(),
                            .copies = args.copies.rows.num_from(),
                            .cols = args.rows.dim(1),
                            .topk = args.copies.rows.to.dim(1),
                            .own_rank = args.own_rank,
                            .num_tokens = args.num_tokens,
                            .peer = args.copies.sources.peer.data<int32_t>(),
                            .place = args.copies.sources.place.data<int32_t>(),
                            .to = args.copies.rows.to.data<int32_t>(),
                            .rows = args.rows.raw()};
    for (size_t rank = 0; rank < args.slots.size(); ++rank)
      call.slots[rank] = const_cast<std::byte*>(args.slots[rank]);
    cuda::send_sums(call, exec);
  }
}

void add_row_sums(const Tensor& slots, const Tensor& places, const Tensor& out, Exec& exec) {
  constexpr const char* kOp = "add_row_sums";
  MG_CHECK(exec.device().is_cuda(), "{}: on GPUs alone", kOp);
  check_float(kOp, "out", out, exec);
  check_contiguous(kOp, "out", out);
  MG_CHECK(slots.rank() == 3 && out.rank() == 2, "{}: slots are {}, out {}", kOp, slots.shape().str(),
           out.shape().str());
  check_tensor(kOp, "slots", slots, out.dtype(), {slots.dim(0), out.dim(0), out.dim(1)}, exec);
  check_contiguous(kOp, "slots", slots);
  check_tensor(kOp, "places", places, DType::kI32, {out.dim(0), slots.dim(0)}, exec);
  check_contiguous(kOp, "places", places);
  if constexpr (kHasCuda) {
    cuda::add_sums({.dtype = out.dtype(),
                    .num_tokens = out.dim(0),
                    .num_ranks = slots.dim(0),
                    .cols = out.dim(1),
                    .places = places.data<int32_t>(),
                    .slots = slots.raw(),
                    .out = out.raw()},
                   exec);
  }
}

}  // namespace megalith
