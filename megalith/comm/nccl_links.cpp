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
  NcclLinks(NcclRank& owner, Communicator& host) : owner_(&owner), host_(&host) { open(); }

  ~NcclLinks() override {
    for (auto* links : {&to_, &from_}) {
      for (auto& [rank, link] : *links) {
        cudaStreamDestroy(link.stream);  // after what it still has to do
        cudaEventDestroy(link.event);
      }
    }
    for (const Sent& sent : sent_) cudaEventDestroy(sent.done);
  }

  void send(const Collective& message, CUstream_st* stream) override {
    drop_done();
    const Link& link = at(to_, message.call.peer);
    follow(link, stream);
    MG_NCCL_CHECK(ncclSend(message.in, message.block_bytes(), ncclUint8, 1, link.comm, link.stream));
    CUevent_st* done = nullptr;
    MG_CUDA_CHECK(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    MG_CUDA_CHECK(cudaEventRecord(done, link.stream));
    sent_.push_back({done, *message.tensors[0]});
  }

  void receive(const Collective& message, CUstream_st* stream) override {
    const Link& link = at(from_, message.from);
    follow(link, stream);
    MG_NCCL_CHECK(ncclRecv(message.out, message.block_bytes(), ncclUint8, 0, link.comm, link.stream));
    MG_CUDA_CHECK(cudaEventRecord(link.event, link.stream));
    MG_CUDA_CHECK(cudaStreamWaitEvent(stream, link.event, 0));
  }

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

  // Every rank names the links to its next and its previous rank; all are made in one group of calls.
  void open() {
    const int size = host_->size();
    const int next = (host_->rank() + 1) % size;
    const int previous = (host_->rank() + size - 1) % size;
    std::vector<int64_t> own;
    for (int i = 0; i < 2; ++i) {
      const Id id = new_id();
      own.insert(own.end(), id.begin(), id.end());
    }
    const std::vector<int64_t> ids = owner_->host_numbers().gather(*host_, own);
    const auto id_at = [&](int rank, int direction) {
      ncclUniqueId id;
      std::memcpy(&id, ids.data() + (2 * rank + direction) * std::tuple_size_v<Id>, sizeof id);
      return id;
    };
    MG_NCCL_CHECK(ncclGroupStart());
    make(to_[next], id_at(host_->rank(), 0), 0);
    make(from_[previous], id_at(previous, 0), 1);
    if (next != previous) {
      make(to_[previous], id_at(host_->rank(), 1), 0);
      make(from_[next], id_at(next, 1), 1);
    }
    MG_NCCL_CHECK(ncclGroupEnd());
    // A communicator is freed when both ends do that: all ranks go through theirs in one order, by sender and
    // receiver.
    std::map<std::pair<int, int>, ncclComm_t> in_order;
    for (auto& [rank, link] : to_) in_order[{host_->rank(), rank}] = link.comm;
    for (auto& [rank, link] : from_) in_order[{rank, host_->rank()}] = link.comm;
    for (auto& [ends, comm] : in_order) owner_->adopt(comm);
  }

  static void make(Link& link, const ncclUniqueId& id, int end) {
    MG_CUDA_CHECK(cudaStreamCreateWithFlags(&link.stream, cudaStreamNonBlocking));
    MG_CUDA_CHECK(cudaEventCreateWithFlags(&link.event, cudaEventDisableTiming));
    MG_NCCL_CHECK(ncclCommInitRank(&link.comm, 2, id, end));
  }

  const Link& at(const std::map<int, Link>& links, int rank) const {
    const auto link = links.find(rank);
    MG_CHECK(link != links.end(),
             "rank {} of '{}': messages between processes go to the next and the previous rank, not to {}",
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

std::unique_ptr<NcclMessages> make_nccl_links(NcclRank& owner, Communicator& host) {
  return std::make_unique<NcclLinks>(owner, host);
}

}  // namespace megalith
