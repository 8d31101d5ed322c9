#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>

#include "megalith/comm/nccl_check.h"
#include "megalith/comm/nccl_messages.h"
#include "megalith/core/cuda/check.h"

namespace megalith {
namespace {

/// One direction between two ranks: messages in order, on a stream that no other direction holds up.
struct Link {
  ncclComm_t comm = nullptr;
  CUstream_st* stream = nullptr;
  CUevent_st* event = nullptr;
};

class NcclLinks final : public NcclMessages {
 public:
  NcclLinks(NcclRank& owner, Communicator& host, const NcclOperation& operation)
      : owner_(&owner), host_(&host) {
    open(Peers::kNeighbours, operation);
  }

  ~NcclLinks() override {
    for (auto* links : {&to_, &from_}) {
      for (auto& [rank, link] : *links) {
        cudaStreamDestroy(link.stream);  // after what it still has to do
        cudaEventDestroy(link.event);
      }
    }
    for (const Sent& sent : sent_) cudaEventDestroy(sent.done);
  }

  void send(const Collective& message, const NcclOperation& operation, CUstream_st* stream) override {
    drop_done();
    const Link& link = at(to_, message.call.peer);
    follow(link, stream);
    owner_->call(operation, [&] { put(link, message.in, message.block_bytes()); });
    CUevent_st* done = nullptr;
    MG_CUDA_CHECK(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    MG_CUDA_CHECK(cudaEventRecord(done, link.stream));
    sent_.push_back({done, *message.tensors[0]});
  }

  void receive(const Collective& message, const NcclOperation& operation, CUstream_st* stream) override {
    const Link& link = at(from_, message.from);
    follow(link, stream);
    owner_->call(operation, [&] { get(link, message.out, message.block_bytes()); });
    MG_CUDA_CHECK(cudaEventRecord(link.event, link.stream));
    MG_CUDA_CHECK(cudaStreamWaitEvent(stream, link.event, 0));
  }

  void reach_all(const NcclOperation& operation) override { open(Peers::kDistant, operation); }

 private:
  using Id = std::array<int64_t, sizeof(ncclUniqueId) / sizeof(int64_t)>;
  struct Sent {
    CUevent_st* done;
    Tensor tensor;
  };

  static Id new_id() {
    ncclUniqueId id;
    MG_NCCL_CHECK(ncclGetUniqueId(&id));
    Id numbers;
    static_assert(sizeof numbers == sizeof id);
    std::memcpy(&numbers, &id, sizeof id);
    return numbers;
  }

  enum class Peers { kNeighbours, kDistant };
  std::vector<int> peers_of(int rank, Peers which) const {
    const int size = host_->size();
    std::vector<int> peers;
    for (int other = 0; other < size; ++other) {
      const bool is_neighbour = (rank + 1) % size == other || (other + 1) % size == rank;
      if (other != rank && is_neighbour == (which == Peers::kNeighbours)) peers.push_back(other);
    }
    return peers;
  }

  // Links both ways with peers of which every rank has as many. Each rank names those on which it sends; all
  // are made in one group of calls.
  void open(Peers which, const NcclOperation& operation) {
    const std::vector<int> peers = peers_of(host_->rank(), which);
    if (peers.empty()) return;
    std::vector<int64_t> own;
    for (size_t i = 0; i < peers.size(); ++i) {
      const Id id = new_id();
      own.insert(own.end(), id.begin(), id.end());
    }
    const std::vector<int64_t> ids = owner_->host_numbers().gather(*host_, own);
    const auto id_of = [&](int sender, int receiver) {
      const std::vector<int> receivers = peers_of(sender, which);
      const auto place = std::find(receivers.begin(), receivers.end(), receiver) - receivers.begin();
      const auto link = static_cast<size_t>(sender) * receivers.size() + static_cast<size_t>(place);
      ncclUniqueId id;
      std::memcpy(&id, ids.data() + link * std::tuple_size_v<Id>, sizeof id);
      return id;
    };
    {
      const NcclWatch::Call called(owner_->watch(), operation);
      MG_NCCL_CHECK(ncclGroupStart());
      for (const int peer : peers) {
        make(to_[peer], id_of(host_->rank(), peer), 0);
        make(from_[peer], id_of(peer, host_->rank()), 1);
      }
      MG_NCCL_CHECK(ncclGroupEnd());
    }
    // A communicator is freed when both ends do that: all ranks go through theirs in one order, by sender and
    // receiver.
    std::map<std::pair<int, int>, ncclComm_t> in_order;
    for (const int peer : peers) {
      in_order[{host_->rank(), peer}] = to_[peer].comm;
      in_order[{peer, host_->rank()}] = from_[peer].comm;
    }
    for (auto& [ends, comm] : in_order) owner_->adopt(comm);
    greet(peers, operation);
  }

  // The first message on a link keeps both hosts waiting for each other while NCCL connects them, so that two
  // ranks that send before they receive would wait for ever. Here all come at once.
  void greet(const std::vector<int>& peers, const NcclOperation& operation) {
    const Tensor sent = owner_->exec().empty({1}, DType::kU8);
    const Tensor received = owner_->exec().empty({std::ssize(peers)}, DType::kU8);
    for (const int peer : peers) follow(from_[peer], owner_->cuda().stream());
    owner_->call(operation, [&] {
      MG_NCCL_CHECK(ncclGroupStart());
      std::byte* place = received.raw();
      for (const int peer : peers) {
        put(to_[peer], sent.raw(), 1);
        get(from_[peer], place++, 1);
      }
      MG_NCCL_CHECK(ncclGroupEnd());
    });
    for (const int peer : peers) {
      MG_CUDA_CHECK(cudaStreamSynchronize(to_[peer].stream));
      MG_CUDA_CHECK(cudaStreamSynchronize(from_[peer].stream));
    }
    owner_->check_alive(operation);
  }

  static void put(const Link& link, const std::byte* from, size_t bytes) {
    MG_NCCL_CHECK(ncclSend(from, bytes, ncclUint8, 1, link.comm, link.stream));
  }
  static void get(const Link& link, std::byte* to, size_t bytes) {
    MG_NCCL_CHECK(ncclRecv(to, bytes, ncclUint8, 0, link.comm, link.stream));
  }

  static void make(Link& link, const ncclUniqueId& id, int end) {
    MG_CUDA_CHECK(cudaStreamCreateWithFlags(&link.stream, cudaStreamNonBlocking));
    MG_CUDA_CHECK(cudaEventCreateWithFlags(&link.event, cudaEventDisableTiming));
    MG_NCCL_CHECK(ncclCommInitRank(&link.comm, 2, id, end));
  }

  const Link& at(const std::map<int, Link>& links, int rank) const {
    const auto link = links.find(rank);
    MG_CHECK(
        link != links.end(),
        "rank {} of '{}': messages between processes go to the next and the previous rank, and to {} after "
        "reach_all() alone",
        host_->rank(), host_->name(), rank);
    return link->second;
  }

  static void follow(const Link& link, CUstream_st* stream) {
    MG_CUDA_CHECK(cudaEventRecord(link.event, stream));
    MG_CUDA_CHECK(cudaStreamWaitEvent(link.stream, link.event, 0));
  }

  void drop_done() {
    while (!sent_.empty() && cudaEventQuery(sent_.front().done) == cudaSuccess) {
      cudaEventDestroy(sent_.front().done);
      sent_.pop_front();
    }
  }

  NcclRank* owner_;
  Communicator* host_;
  std::map<int, Link> to_, from_;
  std::deque<Sent> sent_;
};

}  // namespace

std::unique_ptr<NcclMessages> make_nccl_links(NcclRank& owner, Communicator& host,
                                              const NcclOperation& operation) {
  return std::make_unique<NcclLinks>(owner, host, operation);
}

}  // namespace megalith
