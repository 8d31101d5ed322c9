#pragma once
// defines: NcclMessages, make_peer_copies, make_nccl_links

#include <memory>

#include "megalith/comm/nccl_rank.h"

namespace megalith {

/// How send and recv of a group of GPUs travel. A send occupies `stream` with nothing but events, waits for
/// nobody, and keeps the memory of its tensor until the peer has it. All fail, naming `operation`, when a
/// rank has failed.
class NcclMessages {
 public:
  virtual ~NcclMessages() = default;
  virtual void send(const Collective& message, const NcclOperation& operation, CUstream_st* stream) = 0;
  virtual void receive(const Collective& message, const NcclOperation& operation, CUstream_st* stream) = 0;
  /// Collective: as Communicator's.
  virtual void reach_all(const NcclOperation& operation) = 0;
};

/// Between rank threads: the sender hands over through the host group where the tensor lies, and an event
/// that says when it is ready; the receiver's stream waits for the event and copies. The receiver's host
/// waits until the sender's has come to the send.
std::unique_ptr<NcclMessages> make_peer_copies(NcclRank& owner, Communicator& host);

/// Between processes: NCCL, with a communicator of two ranks and a stream for each direction to the next and
/// to the previous rank, and after reach_all() to every rank; messages to others are errors. Collective over
/// `host`: `operation` needs the links.
std::unique_ptr<NcclMessages> make_nccl_links(NcclRank& owner, Communicator& host,
                                              const NcclOperation& operation);

}  // namespace megalith
