#include "megalith/comm/nccl_communicator.h"
#include "megalith/comm/peer_access.h"
#include "megalith/core/cuda/check.h"

namespace megalith {
namespace {

CUevent_st* new_event() {
  CUevent_st* event = nullptr;
  MG_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return event;
}

struct Events {
  Events() : ready(new_event()), done(new_event()) {}
  ~Events() {
    for (CUevent_st* event : {ready, done}) cudaEventDestroy(event);
  }
  Events(const Events&) = delete;
  CUevent_st* ready;  // this rank's tensors hold what peers may read
  CUevent_st* done;   // it has read all it needs from its peers
};

class EventAccess final : public PeerAccess {
 public:
  EventAccess(std::shared_ptr<NcclRank> owner, Communicator& host) : owner_(std::move(owner)), host_(&host) {
    const auto own = std::make_shared<Events>();
    const int64_t address = reinterpret_cast<int64_t>(&own);
    for (const int64_t of_rank : owner_->host_numbers().gather(host, {&address, 1}))
      events_.push_back(*reinterpret_cast<const std::shared_ptr<Events>*>(of_rank));
    host.barrier("events");  // until then `own` is read
  }

  Places open(std::span<const Tensor> own) override {
    MG_CUDA_CHECK(cudaEventRecord(own_events().ready, owner_->cuda().stream()));
    std::vector<int64_t> message;
    for (const Tensor& tensor : own) message.push_back(reinterpret_cast<int64_t>(tensor.raw()));
    const std::vector<int64_t> all = owner_->host_numbers().gather(*host_, message);
    Places places(own.size());
    for (size_t i = 0; i < all.size(); ++i)
      places[i % own.size()].push_back(reinterpret_cast<const std::byte*>(all[i]));
    wait_for_peers(&Events::ready);
    return places;
  }

  void close() override {
    MG_CUDA_CHECK(cudaEventRecord(own_events().done, owner_->cuda().stream()));
    host_->barrier("peers have read");
    wait_for_peers(&Events::done);
  }

 private:
  const Events& own_events() const { return *events_[static_cast<size_t>(host_->rank())]; }
  // An event can be waited for only after its rank has recorded it: the hosts have met since.
  void wait_for_peers(CUevent_st* Events::*event) {
    for (const auto& events : events_)
      if (events.get() != &own_events())
        MG_CUDA_CHECK(cudaStreamWaitEvent(owner_->cuda().stream(), *events.*event, 0));
  }

  std::shared_ptr<NcclRank> owner_;
  Communicator* host_;
  std::vector<std::shared_ptr<Events>> events_;  // by rank; each lives as long as one of the ranks uses it
};

}  // namespace

std::shared_ptr<PeerAccess> make_peer_access(Communicator& group) {
  auto* nccl = dynamic_cast<NcclCommunicator*>(&group);
  if (nccl == nullptr || group.size() == 1 || !group.is_one_process() || !nccl->owner()->uses_copy_engines())
    return nullptr;
  return std::make_shared<EventAccess>(nccl->owner(), group.host());
}

}  // namespace megalith
