#pragma once
// defines: kMaxPeers, ReadPeerElementsArgs, read_peer_elements

#include <cstdint>

#include "megalith/core/dtype.h"

namespace megalith {
class Exec;
}

namespace megalith::cuda {

constexpr int kMaxPeers = 64;

/// out[n] = element place[n] of the tensor of rank peer[n]; 0 where peer is -1.
struct ReadPeerElementsArgs {
  DType dtype = DType::kF32;
  int64_t count = 0;
  const int32_t* peer = nullptr;        // [count]
  const int32_t* place = nullptr;       // [count]
  const void* sources[kMaxPeers] = {};  ///< by rank, on any GPU that this one reaches
  void* out = nullptr;                  // [count]
};
void read_peer_elements(const ReadPeerElementsArgs& args, Exec& exec);

}  // namespace megalith::cuda
