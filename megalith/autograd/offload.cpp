#include "megalith/autograd/offload.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "megalith/base/math.h"
#include "megalith/core/cuda/cuda_copy_stream.h"
#include "megalith/core/has_cuda.h"

namespace megalith {
namespace {

bool holds(const std::vector<Tensor>& tensors, const std::shared_ptr<Storage>& storage) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const Tensor& tensor) { return tensor.storage() == storage; });
}

}  // namespace

HostCopies::HostCopies(Exec& exec) : pool_(exec.device(), ledger_, Pool::Memory::kPinnedHost) {
  if constexpr (kHasCuda) {
    if (!exec.device().is_cuda()) return;
    for (auto& stream : streams_) stream = std::make_shared<CudaCopyStream>(exec.cuda());
  }
}

HostCopies::~HostCopies() = default;

void HostCopies::follow(Direction direction) {
  if constexpr (kHasCuda) {
    if (streams_[0] != nullptr) stream(direction).follow();
  }
  static_cast<void>(direction);
}

void HostCopies::copy(Direction direction, std::byte* to, const std::byte* from, int64_t bytes) {
  if constexpr (kHasCuda) {
    if (streams_[0] != nullptr) return stream(direction).copy(to, from, bytes);
  }
  static_cast<void>(direction);
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

CUevent_st* HostCopies::mark(Direction direction) {
  if constexpr (kHasCuda) {
    if (streams_[0] != nullptr) return stream(direction).mark();
  }
  static_cast<void>(direction);
  return nullptr;
}

void HostCopies::hold_back(Direction direction, CUevent_st* mark) {
  if constexpr (kHasCuda) {
    if (streams_[0] != nullptr) stream(direction).hold_back(mark);
  }
  static_cast<void>(direction);
  static_cast<void>(mark);
}

SegmentOffload::SegmentOffload(HostCopies& copies, const OffloadOptions& options, int64_t num_segments,
                               Exec& exec)
    : copies_(&copies), options_(options), num_segments_(num_segments), exec_(&exec) {
  options_.num_segments = std::min(options.num_segments, num_segments);
}

// A forward without a backward, or a step that failed, leaves copies. Those to the host may run on: who takes
// the host memory next copies behind them. Those from the host must be done before their blocks serve others.
SegmentOffload::~SegmentOffload() {
  if (is_listing_) exec_->list_storages(outer_list_);
  for (Group& group : groups_) {
    try {
      if (group.state == State::kReturning)
        copies_->hold_back(HostCopies::Direction::kFromHost, group.copied);
    } catch (const Error&) {  // the device has failed
    }
    for (const Moved& moved : group.tensors) copies_->pool().give_back(moved.on_host);
  }
}

void SegmentOffload::begin_segment(const std::vector<Tensor>& inputs) {
  MG_ASSERT(!is_listing_);
  made_.clear();
  if (num_begun_++ >= options_.num_segments) return;
  for (const Tensor& input : inputs)
    if (input.defined()) made_.push_back(input.storage());
  outer_list_ = exec_->list_storages(&made_);
  is_listing_ = true;
}

int64_t SegmentOffload::end_segment(const std::vector<Tensor>& outputs) {
  const int64_t segment = num_begun_ - 1;
  if (is_listing_) {
    exec_->list_storages(outer_list_);
    is_listing_ = false;
    copy_out(outputs);
  }
  const int64_t last = num_segments_ - 1;
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i].state != State::kCopying) continue;
    const int64_t count = static_cast<int64_t>(i) + 1;
    const int64_t behind = std::max(count, ceil_div(count * last, options_.num_segments) - 1);
    if (segment >= std::min(behind, last)) give_back_memory(groups_[i]);
  }
  return segment;
}

void SegmentOffload::copy_out(const std::vector<Tensor>& outputs) {
  using Direction = HostCopies::Direction;
  Group& group = groups_.emplace_back();
  std::set<const Storage*> seen;  // what a segment gets may be one storage twice
  copies_->follow(Direction::kToHost);
  for (const std::weak_ptr<Storage>& weak : made_) {
    const std::shared_ptr<Storage> storage = weak.lock();
    if (storage == nullptr || storage->block_bytes() < options_.min_bytes || holds(outputs, storage))
      continue;
    if (!seen.insert(storage.get()).second) continue;
    const Block on_host = copies_->pool().take(storage->block_bytes());
    group.tensors.push_back({weak, on_host});
    copies_->copy(Direction::kToHost, on_host.data, storage->data(), storage->block_bytes());
  }
  group.copied = copies_->mark(Direction::kToHost);
}

void SegmentOffload::give_back_memory(Group& group) {
  copies_->hold_back(HostCopies::Direction::kToHost, group.copied);
  for (const Moved& moved : group.tensors)
    if (const auto storage = moved.storage.lock()) storage->give_back_block();
  group.state = State::kOnHost;
}

void SegmentOffload::copy_back(Group& group) {
  using Direction = HostCopies::Direction;
  std::vector<std::pair<std::shared_ptr<Storage>, const Block*>> returning;
  for (const Moved& moved : group.tensors) {
    if (auto storage = moved.storage.lock()) {
      storage->take_block();
      returning.push_back({std::move(storage), &moved.on_host});
    }
  }
  copies_->follow(Direction::kFromHost);  // who had the blocks before is done with them
  for (const auto& [storage, on_host] : returning)
    copies_->copy(Direction::kFromHost, storage->data(), on_host->data, storage->block_bytes());
  group.copied = copies_->mark(Direction::kFromHost);
  group.state = State::kReturning;
}

void SegmentOffload::finish(Group& group) {
  MG_ASSERT(group.state == State::kReturning);
  copies_->hold_back(HostCopies::Direction::kFromHost, group.copied);
  for (const Moved& moved : group.tensors) copies_->pool().give_back(moved.on_host);
  group.tensors.clear();
  group.state = State::kDone;
}

void SegmentOffload::before_backward(int64_t segment) {
  const int64_t last = num_segments_ - 1;
  for (size_t i = groups_.size(); i-- > 0;) {
    if (groups_[i].state != State::kOnHost) continue;
    const int64_t index = static_cast<int64_t>(i);
    const int64_t from = std::max(index + 1, num_segments_ - 2 - options_.num_segments + index);
    if (segment <= std::min(from, last)) copy_back(groups_[i]);
  }
  if (segment < static_cast<int64_t>(groups_.size())) finish(groups_[static_cast<size_t>(segment)]);
}

}  // namespace megalith
