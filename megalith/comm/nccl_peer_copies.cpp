#include <atomic>
#include <chrono>
#include <deque>
#include <exception>
#include <thread>

#include "megalith/comm/nccl_messages.h"
#include "megalith/core/cuda/check.h"

namespace megalith {
namespace {

constexpr auto kPatience = std::chrono::seconds(30);  // with peers that take what was sent before the end

struct Parcel {
  ~Parcel() {
    cudaEventDestroy(ready);
    if (CUevent_st* event = taken.load()) cudaEventDestroy(event);
  }
  CollectiveCall call;
  const std::byte* data = nullptr;
  CUevent_st* ready = nullptr;               // of the sender's GPU
  std::atomic<CUevent_st*> taken = nullptr;  // of the receiver's GPU, once it is recorded
};

class PeerCopies final : public NcclMessages {
 public:
  PeerCopies(NcclRank& owner, Communicator& host)
      : owner_(&owner), host_(&host), num_exceptions_(std::uncaught_exceptions()) {}

  // The memory of what was sent goes with this rank, so the peers must have their copies.
  ~PeerCopies() override {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    drop_taken();
    while (!sent_.empty() && std::chrono::steady_clock::now() < end &&
           std::uncaught_exceptions() == num_exceptions_ && !host_->is_aborted()) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      drop_taken();
    }
  }

  void send(const Collective& message, const NcclOperation& operation, CUstream_st* stream) override {
    owner_->check_alive(operation);
    drop_taken();
    const auto parcel = std::make_shared<Parcel>();
    parcel->call = message.call;
    parcel->data = message.in;
    MG_CUDA_CHECK(cudaEventCreateWithFlags(&parcel->ready, cudaEventDisableTiming));
    MG_CUDA_CHECK(cudaEventRecord(parcel->ready, stream));
    sent_.push_back({parcel, *message.tensors[0]});
    // The address of this object is what travels.
    auto handed_over = std::make_unique<std::shared_ptr<Parcel>>(parcel);
    const int64_t address = reinterpret_cast<int64_t>(handed_over.get());
    host_->send(owner_->host_numbers().make({&address, 1}), message.call.peer, message.call.label.str());
    static_cast<void>(handed_over.release());  // the receiver deletes it
  }

  void receive(const Collective& message, const NcclOperation& operation, CUstream_st* stream) override {
    owner_->check_alive(operation);
    const Tensor address = owner_->host_numbers().make(1);
    host_->recv(address, message.from, message.call.label.str());
    const std::unique_ptr<std::shared_ptr<Parcel>> handed_over(
        reinterpret_cast<std::shared_ptr<Parcel>*>(address.data<int64_t>()[0]));
    Parcel& parcel = **handed_over;
    MG_CHECK(parcel.call.dtype == message.call.dtype && parcel.call.count == message.call.count,
             "rank {} of '{}': {} does not match what rank {} called: {}", host_->rank(), host_->name(),
             describe(message.call), message.from, describe(parcel.call));
    MG_CUDA_CHECK(cudaStreamWaitEvent(stream, parcel.ready, 0));
    MG_CUDA_CHECK(
        cudaMemcpyAsync(message.out, parcel.data, message.block_bytes(), cudaMemcpyDeviceToDevice, stream));
    CUevent_st* taken = nullptr;
    MG_CUDA_CHECK(cudaEventCreateWithFlags(&taken, cudaEventDisableTiming));
    MG_CUDA_CHECK(cudaEventRecord(taken, stream));
    parcel.taken.store(taken, std::memory_order_release);
  }

  void reach_all(const NcclOperation& operation) override { owner_->check_alive(operation); }

 private:
  struct Sent {
    std::shared_ptr<Parcel> parcel;
    Tensor tensor;
  };

  void drop_taken() {
    std::erase_if(sent_, [](const Sent& sent) {
      CUevent_st* taken = sent.parcel->taken.load(std::memory_order_acquire);
      return taken != nullptr && cudaEventQuery(taken) == cudaSuccess;
    });
  }

  NcclRank* owner_;
  Communicator* host_;
  int num_exceptions_;     // in flight when this was made
  std::deque<Sent> sent_;  // until the receiver has a copy
};

}  // namespace

std::unique_ptr<NcclMessages> make_peer_copies(NcclRank& owner, Communicator& host) {
  return std::make_unique<PeerCopies>(owner, host);
}

}  // namespace megalith
