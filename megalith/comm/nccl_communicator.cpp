#include "megalith/comm/nccl_communicator.h"

#include <numeric>

#include "megalith/comm/nccl_check.h"
#include "megalith/core/cuda/check.h"

namespace megalith {
namespace {

std::vector<int> all_ranks(int count) {
  std::vector<int> ranks(static_cast<size_t>(count));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

bool is_message(CollectiveKind kind) {
  return kind == CollectiveKind::kSend || kind == CollectiveKind::kRecv;
}

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return ncclFloat64;
    case DType::kF32:
      return ncclFloat32;
    case DType::kBF16:
      return ncclBfloat16;
    case DType::kF16:
      return ncclFloat16;
    case DType::kI64:
      return ncclInt64;
    case DType::kI32:
      return ncclInt32;
    default:
      return ncclUint8;
  }
}

ncclRedOp_t nccl_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::kMax:
      return ncclMax;
    case ReduceOp::kMin:
      return ncclMin;
    case ReduceOp::kAvg:
      return ncclAvg;
    default:
      return ncclSum;
  }
}

}  // namespace

NcclCommunicator::NcclCommunicator(std::shared_ptr<NcclRank> owner, Communicator& host)
    : Communicator(host.rank(), host.size(), host.name(), DeviceKind::kCuda),
      owner_(std::move(owner)),
      host_(&host),
      world_ranks_(all_ranks(host.size())),
      order_(CommOrder::kInline) {
  if (size() > 1) comm_ = owner_->open(*host_, world_ranks_, order_);
  MG_CUDA_CHECK(cudaEventCreateWithFlags(&reached_, cudaEventDisableTiming));
  MG_CUDA_CHECK(cudaEventCreateWithFlags(&finished_, cudaEventDisableTiming));
}

NcclCommunicator::NcclCommunicator(std::shared_ptr<NcclRank> owner, std::unique_ptr<Communicator> host,
                                   std::vector<int> world_ranks, CommOrder order)
    : Communicator(host->rank(), host->size(), host->name(), DeviceKind::kCuda),
      owner_(std::move(owner)),
      own_host_(std::move(host)),
      host_(own_host_.get()),
      world_ranks_(std::move(world_ranks)),
      order_(order) {
  if (size() > 1) comm_ = owner_->open(*host_, world_ranks_, order_);
  if (size() > 1 && order_ == CommOrder::kBeside && is_one_process() && owner_->uses_copy_engines())
    peers_ = std::make_unique<PeerCollectives>(*owner_, *host_);
  MG_CUDA_CHECK(cudaEventCreateWithFlags(&reached_, cudaEventDisableTiming));
  MG_CUDA_CHECK(cudaEventCreateWithFlags(&finished_, cudaEventDisableTiming));
}

NcclCommunicator::~NcclCommunicator() {
  // Who takes the memory of what still travels stands behind it, as after wait().
  if (!travelling_.empty()) cudaStreamWaitEvent(owner_->cuda().stream(), finished_, 0);
  cudaEventDestroy(reached_);
  cudaEventDestroy(finished_);
}

CUstream_st* NcclCommunicator::stream() const {
  return order_ == CommOrder::kBeside ? owner_->cuda().comm_stream() : owner_->cuda().stream();
}

void NcclCommunicator::wait() {
  if (order_ == CommOrder::kInline || travelling_.empty()) return;
  MG_CUDA_CHECK(cudaStreamWaitEvent(owner_->cuda().stream(), finished_, 0));
  travelling_.clear();  // whoever takes the memory next stands behind the event
}

void NcclCommunicator::run(const Collective& c) {
  const NcclOperation operation{Label(name()), ++number_, c.call};
  if (c.call.kind == CollectiveKind::kBarrier) return run_barrier(operation);
  if (is_message(c.call.kind)) return run_message(c, operation);
  follow_compute(c);
  if (peers_ != nullptr && peers_->takes(c)) {
    owner_->check_alive(operation);
    peers_->run(c, stream());
    owner_->watch().add(operation, stream());
  } else {
    owner_->call(operation, [&] {
      launch(c, stream());
      owner_->watch().add(operation, stream());
    });
  }
  mark_finished();
}

// An operation beside compute begins when compute has come here, and its tensors stay until wait().
void NcclCommunicator::follow_compute(const Collective& c) {
  if (order_ == CommOrder::kInline) return;
  MG_CUDA_CHECK(cudaEventRecord(reached_, owner_->cuda().stream()));
  MG_CUDA_CHECK(cudaStreamWaitEvent(stream(), reached_, 0));
  for (const Tensor* tensor : c.tensors)
    if (tensor != nullptr) travelling_.push_back(*tensor);
}

// Behind every operation, not in wait(): other groups use the stream too, and wait() is for this one alone.
void NcclCommunicator::mark_finished() {
  if (order_ == CommOrder::kBeside) MG_CUDA_CHECK(cudaEventRecord(finished_, stream()));
}

void NcclCommunicator::launch(const Collective& c, CUstream_st* on) {
  const auto count = static_cast<size_t>(c.call.count);
  const auto bytes = c.block_bytes();
  const ncclDataType_t type = nccl_type(c.call.dtype);
  if (size() == 1) return exchange(c, on);
  switch (c.call.kind) {
    case CollectiveKind::kAllReduce:
      return MG_NCCL_CHECK(ncclAllReduce(c.in, c.out, count, type, nccl_op(c.call.op), comm_, on));
    case CollectiveKind::kReduceScatter:
      return MG_NCCL_CHECK(ncclReduceScatter(c.in, c.out, count, type, nccl_op(c.call.op), comm_, on));
    case CollectiveKind::kAllGather:
      return MG_NCCL_CHECK(ncclAllGather(c.in, c.out, bytes, ncclUint8, comm_, on));
    case CollectiveKind::kBroadcast:
      return MG_NCCL_CHECK(ncclBroadcast(c.in, c.out, bytes, ncclUint8, c.call.peer, comm_, on));
    default:
      return exchange(c, on);
  }
}

// What consists of messages: all of them in one group of calls, so that none waits for another. A rank's own
// block is copied.
void NcclCommunicator::exchange(const Collective& c, CUstream_st* on) {
  const size_t bytes = c.block_bytes();
  const std::byte* in = c.in;
  std::byte* out = c.out;
  const auto copy = [&](std::byte* to, const std::byte* from, size_t length) {
    if (length > 0 && to != from)
      MG_CUDA_CHECK(cudaMemcpyAsync(to, from, length, cudaMemcpyDeviceToDevice, on));
  };
  const auto send = [&](int to, const std::byte* from, size_t length) {
    if (length > 0) MG_NCCL_CHECK(ncclSend(from, length, ncclUint8, to, comm_, on));
  };
  const auto receive = [&](int from, std::byte* to, size_t length) {
    if (length > 0) MG_NCCL_CHECK(ncclRecv(to, length, ncclUint8, from, comm_, on));
  };
  const bool is_root = c.call.peer == rank();
  MG_NCCL_CHECK(ncclGroupStart());
  switch (c.call.kind) {
    case CollectiveKind::kAllToAll:
    case CollectiveKind::kAllToAllV: {
      const bool has_counts = c.call.kind == CollectiveKind::kAllToAllV;
      for (int r = 0; r < size(); ++r) {
        const auto at = static_cast<size_t>(r);
        const size_t sent = bytes * (has_counts ? static_cast<size_t>(c.send_counts[at]) : 1);
        const size_t received = bytes * (has_counts ? static_cast<size_t>(c.recv_counts[at]) : 1);
        if (r == rank()) {
          MG_CHECK(sent == received, "all_to_all_v: rank {} sends itself {} rows and expects {}", r,
                   c.send_counts[at], c.recv_counts[at]);
          copy(out, in, sent);
        } else {
          send(r, in, sent);
          receive(r, out, received);
        }
        in += sent;
        out += received;
      }
      break;
    }
    case CollectiveKind::kGather:
      if (!is_root) {
        send(c.call.peer, in, bytes);
        break;
      }
      for (int r = 0; r < size(); ++r)
        if (r != rank()) receive(r, out + static_cast<size_t>(r) * bytes, bytes);
      copy(out + static_cast<size_t>(rank()) * bytes, in, bytes);
      break;
    case CollectiveKind::kScatter:
      if (!is_root) {
        receive(c.call.peer, out, bytes);
        break;
      }
      for (int r = 0; r < size(); ++r)
        if (r != rank()) send(r, in + static_cast<size_t>(r) * bytes, bytes);
      copy(out, in + static_cast<size_t>(rank()) * bytes, bytes);
      break;
    case CollectiveKind::kSendRecv:
      if (c.call.peer == rank()) {
        copy(out, in, bytes);
        break;
      }
      send(c.call.peer, in, bytes);
      receive(c.from, out, bytes);
      break;
    default:  // of a group of one
      copy(out, in, bytes);
  }
  MG_NCCL_CHECK(ncclGroupEnd());
}

void NcclCommunicator::connect(const NcclOperation& operation) {
  owner_->check_alive(operation);
  if (messages_ == nullptr)
    messages_ =
        is_one_process() ? make_peer_copies(*owner_, *host_) : make_nccl_links(*owner_, *host_, operation);
}

void NcclCommunicator::reach_all() {
  if (reaches_all_) return;
  const NcclOperation operation{
      Label(name()), ++number_, {.kind = CollectiveKind::kSplit, .label = Label("links to all ranks")}};
  connect(operation);
  messages_->reach_all(operation);
  reaches_all_ = true;
}

void NcclCommunicator::run_message(const Collective& c, const NcclOperation& operation) {
  connect(operation);
  if (c.call.kind == CollectiveKind::kSend) {
    CUstream_st* compute = owner_->cuda().stream();  // which a send does not hold up
    messages_->send(c, operation, compute);
    return owner_->watch().add(operation, compute);
  }
  follow_compute(c);
  messages_->receive(c, operation, stream());
  owner_->watch().add(operation, stream());
  mark_finished();
}

void NcclCommunicator::run_barrier(const NcclOperation& operation) {
  owner_->check_alive(operation);
  owner_->cuda().synchronize();
  MG_CUDA_CHECK(cudaStreamSynchronize(owner_->cuda().comm_stream()));
  owner_->check_alive(operation);
  host_->barrier(operation.call.label.str());
}

std::unique_ptr<Communicator> NcclCommunicator::run_split(const SplitOptions& options) {
  const NcclOperation operation{Label(name()), ++number_, {.kind = CollectiveKind::kSplit}};
  owner_->check_alive(operation);
  std::unique_ptr<Communicator> part = host_->split(options);
  if (part == nullptr) return nullptr;
  const int64_t own = world_ranks_[static_cast<size_t>(rank())];
  std::vector<int> world_ranks;
  for (const int64_t rank : owner_->host_numbers().gather(*part, {&own, 1}))
    world_ranks.push_back(static_cast<int>(rank));
  return std::make_unique<NcclCommunicator>(owner_, std::move(part), std::move(world_ranks), options.order);
}

bool has_nccl() {
  return true;
}

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, Exec& exec,
                                                     const NcclOptions& options) {
  auto owner = std::make_shared<NcclRank>(host, exec, options);
  if (host.is_one_process()) {
    owner->reach_peers(host);
  } else {
    const auto in_process = host.split({.colour = host.process(), .name = "process"});
    if (in_process->size() > 1) owner->reach_peers(*in_process);
  }
  return std::make_unique<NcclCommunicator>(std::move(owner), host);
}

}  // namespace megalith
