#pragma once
// defines: PeerCollectives

#include <memory>
#include <vector>

#include "megalith/comm/nccl_rank.h"

namespace megalith {

/// Sums, gathers and exchanges of large tensors between rank threads, beside compute: the copy engines bring
/// what the peers have, and a short kernel adds. NCCL's kernels would occupy multiprocessors for the whole
/// transfer, from which the matrix products that run at the same time suffer more than they gain. Sums are
/// taken in rank order, with the bits of the CPU.
///
/// The ranks' hosts meet two or three times in an operation, since an event of a peer can be waited for only
/// after it was recorded. A rank keeps room for 32 MiB of each peer.
class PeerCollectives {
 public:
  /// Collective over `host`, whose ranks are threads with GPUs that reach each other.
  PeerCollectives(NcclRank& owner, Communicator& host);
  ~PeerCollectives();
  PeerCollectives(const PeerCollectives&) = delete;

  /// The same answer in all ranks. Small tensors are NCCL's: there the time is that of the hosts. In a
  /// send_recv all ranks take part, with tensors of one size.
  bool takes(const Collective& collective) const;
  void run(const Collective& collective, CUstream_st* stream);

 private:
  struct Events;

  int size() const { return host_->size(); }
  int rank() const { return host_->rank(); }
  /// Who is `step` places further on: not all ranks read from the same one at once.
  int peer(int step) const { return (rank() + step) % size(); }
  void wait_for(CUevent_st* Events::*event, int peer_rank, CUstream_st* stream);
  /// Block `offset` of every rank's tensor, summed into `out`.
  void sum_block(const Collective& collective, int64_t offset, int64_t count, std::byte* out,
                 CUstream_st* stream);
  void bring(std::byte* to, const std::byte* from, size_t bytes, CUstream_st* stream);
  std::byte* staging(size_t bytes);

  NcclRank* owner_;
  Communicator* host_;
  std::vector<std::shared_ptr<Events>> events_;  // by rank; each lives as long as one of the ranks uses it
  std::vector<const std::byte*> sources_;        // of the operation, by rank
  std::byte* staging_ = nullptr;
  size_t staging_bytes_ = 0;
};

}  // namespace megalith
