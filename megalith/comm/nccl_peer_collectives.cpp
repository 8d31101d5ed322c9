#include "megalith/comm/nccl_peer_collectives.h"

#include <algorithm>

#include "megalith/base/math.h"
#include "megalith/comm/nccl_sum.h"
#include "megalith/core/cuda/check.h"

namespace megalith {
namespace {

constexpr size_t kSmallBytes = size_t{1} << 20;  // of the whole tensor
constexpr size_t kSmallRowBytes = 512;  // of all_to_all_v, whose ranks have different numbers of rows
constexpr size_t kChunkBytes = size_t{32} << 20;  // brought from each peer before a kernel adds

CUevent_st* new_event() {
  CUevent_st* event = nullptr;
  MG_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return event;
}

bool can_sum(const CollectiveCall& call) {
  const bool has_kernel =
      call.dtype == DType::kF32 || call.dtype == DType::kBF16 || call.dtype == DType::kF16;
  return has_kernel && (call.op == ReduceOp::kSum || call.op == ReduceOp::kAvg);
}

}  // namespace

struct PeerCollectives::Events {
  Events() : ready(new_event()), summed(new_event()), done(new_event()) {}
  ~Events() {
    for (CUevent_st* event : {ready, summed, done}) cudaEventDestroy(event);
  }
  Events(const Events&) = delete;
  CUevent_st* ready;   // this rank's tensor holds what peers may read
  CUevent_st* summed;  // all_reduce: its slice is summed
  CUevent_st* done;    // it has read all it needs from its peers
};

PeerCollectives::PeerCollectives(NcclRank& owner, Communicator& host) : owner_(&owner), host_(&host) {
  const auto own = std::make_shared<Events>();
  const int64_t address = reinterpret_cast<int64_t>(&own);
  for (const int64_t of_rank : owner.host_numbers().gather(host, {&address, 1}))
    events_.push_back(*reinterpret_cast<const std::shared_ptr<Events>*>(of_rank));
  host.barrier("events");  // until then `own` is read
}

PeerCollectives::~PeerCollectives() {
  if (staging_ != nullptr) cudaFree(staging_);
}

bool PeerCollectives::takes(const Collective& c) const {
  if (c.call.kind == CollectiveKind::kAllToAllV) return c.block_bytes() >= kSmallRowBytes;
  const size_t whole =
      c.block_bytes() * static_cast<size_t>(c.call.kind == CollectiveKind::kAllReduce ? 1 : size());
  if (whole < kSmallBytes || size() > kMaxSummed) return false;
  if (c.call.kind == CollectiveKind::kAllGather || c.call.kind == CollectiveKind::kSendRecv) return true;
  return (c.call.kind == CollectiveKind::kAllReduce || c.call.kind == CollectiveKind::kReduceScatter) &&
         can_sum(c.call);
}

void PeerCollectives::wait_for(CUevent_st* Events::*event, int peer_rank, CUstream_st* stream) {
  MG_CUDA_CHECK(cudaStreamWaitEvent(stream, *events_[static_cast<size_t>(peer_rank)].*event, 0));
}

void PeerCollectives::bring(std::byte* to, const std::byte* from, size_t bytes, CUstream_st* stream) {
  if (bytes > 0 && to != from)
    MG_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
}

std::byte* PeerCollectives::staging(size_t bytes) {
  if (bytes > staging_bytes_) {
    if (staging_ != nullptr) MG_CUDA_CHECK(cudaFree(staging_));
    staging_ = nullptr;
    MG_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&staging_), bytes));
    staging_bytes_ = bytes;
  }
  return staging_;
}

void PeerCollectives::sum_block(const Collective& c, int64_t offset, int64_t count, std::byte* out,
                                CUstream_st* stream) {
  const auto element = static_cast<int64_t>(size_of(c.call.dtype));
  const int64_t chunk = std::min(count, static_cast<int64_t>(kChunkBytes) / element);
  std::byte* staged = staging(static_cast<size_t>(chunk * element * (size() - 1)));
  const float divisor = c.call.op == ReduceOp::kAvg ? static_cast<float>(size()) : 1.0F;
  for (int step = 1; step < size(); ++step) wait_for(&Events::ready, peer(step), stream);
  std::vector<const std::byte*> inputs(static_cast<size_t>(size()));
  for (int64_t begin = 0; begin < count; begin += chunk) {
    const int64_t length = std::min(chunk, count - begin);
    const int64_t at = (offset + begin) * element;
    inputs[static_cast<size_t>(rank())] = c.in + at;
    for (int step = 1; step < size(); ++step) {
      std::byte* place = staged + (step - 1) * chunk * element;
      bring(place, sources_[static_cast<size_t>(peer(step))] + at, static_cast<size_t>(length * element),
            stream);
      inputs[static_cast<size_t>(peer(step))] = place;
    }
    sum_on_gpu(c.call.dtype, inputs, out + begin * element, length, divisor, stream);
  }
}

void PeerCollectives::run(const Collective& c, CUstream_st* stream) {
  const size_t bytes = c.block_bytes();
  const Events& own = *events_[static_cast<size_t>(rank())];
  MG_CUDA_CHECK(cudaEventRecord(own.ready, stream));
  sources_.clear();
  // For each rank, where this one's tensor begins, or what of it is for that rank; then whom it sends to.
  std::vector<int64_t> message;
  const std::byte* begin = c.in;
  for (int r = 0; r < size(); ++r) {
    message.push_back(reinterpret_cast<int64_t>(begin));
    if (c.call.kind == CollectiveKind::kAllToAllV)
      begin += bytes * static_cast<size_t>(c.send_counts[static_cast<size_t>(r)]);
  }
  message.push_back(c.call.peer);
  const std::vector<int64_t> all = owner_->host_numbers().gather(*host_, message);
  const auto said_by = [&](int r, int at) { return all[static_cast<size_t>(r * (size() + 1) + at)]; };
  for (int r = 0; r < size(); ++r) sources_.push_back(reinterpret_cast<const std::byte*>(said_by(r, rank())));

  switch (c.call.kind) {
    case CollectiveKind::kAllToAllV: {
      std::vector<std::byte*> places = {c.out};
      for (const int64_t rows : c.recv_counts)
        places.push_back(places.back() + bytes * static_cast<size_t>(rows));
      for (int step = 0; step < size(); ++step) {
        const auto from = static_cast<size_t>(peer(step));
        if (step > 0) wait_for(&Events::ready, peer(step), stream);
        bring(places[from], sources_[from], bytes * static_cast<size_t>(c.recv_counts[from]), stream);
      }
      break;
    }
    case CollectiveKind::kAllGather:
      bring(c.out + static_cast<size_t>(rank()) * bytes, c.in, bytes, stream);
      for (int step = 1; step < size(); ++step) {
        const auto from = static_cast<size_t>(peer(step));
        wait_for(&Events::ready, peer(step), stream);
        bring(c.out + from * bytes, sources_[from], bytes, stream);
      }
      break;
    case CollectiveKind::kReduceScatter:
      sum_block(c, rank() * c.call.count, c.call.count, c.out, stream);
      break;
    case CollectiveKind::kSendRecv: {
      const auto from = static_cast<size_t>(c.from);
      const int64_t to = said_by(c.from, size());
      MG_CHECK(to == rank(), "send_recv: rank {} receives from rank {}, which sends to rank {}", rank(), from,
               to);
      if (c.from != rank()) wait_for(&Events::ready, c.from, stream);
      bring(c.out, sources_[from], bytes, stream);
      break;
    }
    default: {  // all_reduce: each rank sums a slice, and then takes those of the others
      const auto element = static_cast<int64_t>(size_of(c.call.dtype));
      const int64_t slice = round_up(ceil_div<int64_t>(c.call.count, size()), 256 / element);
      const auto begin_of = [&](int r) { return std::min(r * slice, c.call.count); };
      const auto bytes_of = [&](int r) {
        return static_cast<size_t>((begin_of(r + 1) - begin_of(r)) * element);
      };
      sum_block(c, begin_of(rank()), begin_of(rank() + 1) - begin_of(rank()),
                c.out + begin_of(rank()) * element, stream);
      MG_CUDA_CHECK(cudaEventRecord(own.summed, stream));
      host_->barrier("slices are summed");
      for (int step = 1; step < size(); ++step) {
        // The peer has also read this rank's part of the slice, which is overwritten here.
        wait_for(&Events::summed, peer(step), stream);
        const int64_t at = begin_of(peer(step)) * element;
        bring(c.out + at, sources_[static_cast<size_t>(peer(step))] + at, bytes_of(peer(step)), stream);
      }
    }
  }
  MG_CUDA_CHECK(cudaEventRecord(own.done, stream));
  host_->barrier("peers have read");
  for (int step = 1; step < size(); ++step) wait_for(&Events::done, peer(step), stream);
}

}  // namespace megalith
