#include "megalith/comm/nccl_rank.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "megalith/comm/nccl_check.h"
#include "megalith/core/cuda/check.h"

namespace megalith {
namespace {

NcclOperation opening(Communicator& group) {
  return {Label(group.name()), 0, {.kind = CollectiveKind::kSplit}};
}

int current_device() {
  int device = 0;
  MG_CUDA_CHECK(cudaGetDevice(&device));
  return device;
}

}  // namespace

NcclRank::NcclRank(Communicator& host, Exec& exec, const NcclOptions& options)
    : host_(&host),
      exec_(&exec),
      options_(options),
      num_exceptions_(std::uncaught_exceptions()),
      watch_(
          host, current_device(), options,
          {.find_error = [this] { return find_error(); }, .end_operations = [this] { end_operations(); }}) {}

NcclRank::~NcclRank() {
  // Nothing may be thrown here, and nothing can be done about a failure.
  if (std::uncaught_exceptions() > num_exceptions_) {
    if (!host_->is_aborted()) host_->abort("an exception ends the rank");
    end_operations();
  }
  if (!watch_.has_failed() && !is_ended_) {
    cudaStreamSynchronize(exec_->cuda().stream());
    cudaStreamSynchronize(exec_->cuda().comm_stream());
  }
  const std::lock_guard lock(comms_mutex_);
  if (is_ended_) return;
  is_ended_ = true;
  for (ncclComm_t comm : comms_) ncclCommDestroy(comm);
  comms_.clear();
}

void NcclRank::reach_peers(Communicator& in_process) {
  const int64_t own = current_device();
  const std::vector<int64_t> devices = host_numbers_.gather(in_process, {&own, 1});
  int64_t reaches_all = options_.beside == BesideTransport::kCopyEngines ? 1 : 0;
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    if (static_cast<int>(rank) == in_process.rank()) continue;
    MG_CHECK(devices[rank] != own, "ranks {} and {} are both on cuda:{}; each rank needs a GPU of its own",
             host_->rank(), host_->rank() + static_cast<int>(rank) - in_process.rank(), own);
    int can_reach = 0, is_reached = 0;
    MG_CUDA_CHECK(
        cudaDeviceCanAccessPeer(&can_reach, static_cast<int>(own), static_cast<int>(devices[rank])));
    MG_CUDA_CHECK(
        cudaDeviceCanAccessPeer(&is_reached, static_cast<int>(devices[rank]), static_cast<int>(own)));
    if (is_reached != 0) exec_->pool().share_with(static_cast<int>(devices[rank]));
    if (can_reach == 0) {
      reaches_all = 0;
      continue;  // copies then go through the host
    }
    const cudaError_t error = cudaDeviceEnablePeerAccess(static_cast<int>(devices[rank]), 0);
    if (error == cudaErrorPeerAccessAlreadyEnabled)
      cudaGetLastError();
    else
      MG_CUDA_CHECK(error);
  }
  const std::vector<int64_t> all = host_numbers_.gather(in_process, {&reaches_all, 1});
  uses_copy_engines_ = std::all_of(all.begin(), all.end(), [](int64_t reaches) { return reaches != 0; });
}

ncclComm_t NcclRank::open(Communicator& host, const std::vector<int>& world_ranks, CommOrder order) {
  const auto known = opened_.find({order, world_ranks});
  if (known != opened_.end()) return known->second;
  static_assert(sizeof(ncclUniqueId) % sizeof(int64_t) == 0);
  ncclUniqueId id;
  std::memset(&id, 0, sizeof id);
  if (host.rank() == 0) MG_NCCL_CHECK(ncclGetUniqueId(&id));
  const Tensor shared = host_numbers_.make(sizeof id / sizeof(int64_t));
  std::memcpy(shared.raw(), &id, sizeof id);
  host.broadcast(shared, 0, "NCCL's id");
  std::memcpy(&id, shared.raw(), sizeof id);
  ncclComm_t comm = nullptr;
  {
    const NcclWatch::Call called(watch_, opening(host));
    MG_NCCL_CHECK(ncclCommInitRank(&comm, host.size(), id, host.rank()));
  }
  opened_[{order, world_ranks}] = comm;
  adopt(comm);
  return comm;
}

void NcclRank::adopt(ncclComm_t comm) {
  const std::lock_guard lock(comms_mutex_);
  comms_.push_back(comm);
}

std::string NcclRank::find_error() {
  // Who ends the groups has the lock, and may not come out of NCCL again: the watch must.
  const std::unique_lock lock(comms_mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return {};
  for (ncclComm_t comm : comms_) {
    ncclResult_t state = ncclSuccess;
    if (ncclCommGetAsyncError(comm, &state) != ncclSuccess || state == ncclInProgress) continue;
    if (state != ncclSuccess)
      return fmt::format("rank {}: NCCL reports: {} ({})", host_->rank(), ncclGetErrorString(state),
                         ncclGetLastError(comm));
  }
  return {};
}

void NcclRank::end_operations() {
  // A rank that stands in a call of NCCL comes out of it when its group is ended under it.
  constexpr auto kPatience = std::chrono::seconds(2);
  const std::unique_lock calls(calling_, kPatience);
  const std::lock_guard lock(comms_mutex_);
  if (is_ended_) return;
  is_ended_ = true;
  // All are told to end before any is waited for: one after another, the first would wait for what stands
  // behind the kernels of the next.
  ncclGroupStart();
  for (ncclComm_t comm : comms_) ncclCommAbort(comm);
  ncclGroupEnd();
  comms_.clear();
}

}  // namespace megalith
