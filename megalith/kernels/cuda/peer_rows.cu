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

}  // namespace

void read_peer_elements(const ReadPeerElementsArgs& args, Exec& exec) {
  dispatch_device_float(args.dtype,
                        [&]<class T>() { launch_rows(ReadPeerElements<T>{args}, 1, args.count, exec); });
}

}  // namespace megalith::cuda
