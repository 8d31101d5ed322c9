#include "megalith/ops/peer_rows.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/peer_rows.h"
#include "megalith/ops/check.h"

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

}  // namespace megalith
