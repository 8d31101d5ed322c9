#include "megalith/comm/nccl.h"
#include "megalith/comm/peer_access.h"

namespace megalith {

bool has_nccl() {
  return false;
}

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, Exec&, const NcclOptions&) {
  fail("this build has no NCCL, which {} ranks on GPUs need: install libnccl-dev and build the cuda preset",
       host.size());
}

std::shared_ptr<PeerAccess> make_peer_access(Communicator&) {
  return nullptr;
}

}  // namespace megalith
