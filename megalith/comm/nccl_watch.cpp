#include "megalith/comm/nccl_watch.h"

#include <cstdlib>
#include <future>

#include "megalith/base/log.h"
#include "megalith/base/text.h"
#include "megalith/core/cuda/check.h"

namespace megalith {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(20);
constexpr size_t kKeptFinished = 3;
constexpr size_t kShownPending = 4;

std::string seconds_text(std::chrono::steady_clock::duration duration) {
  return human_duration(std::chrono::duration<double>(duration).count());
}

}  // namespace

std::string NcclOperation::where() const {
  return fmt::format("{} (operation {} of '{}')", describe(call), number, group.str());
}

NcclWatch::NcclWatch(Communicator& host, int device_index, const NcclOptions& options, Hooks hooks)
    : host_(&host),
      rank_(host.rank()),
      device_index_(device_index),
      options_(options),
      hooks_(std::move(hooks)),
      thread_([this] { follow(); }) {}

NcclWatch::~NcclWatch() {
  {
    const std::lock_guard lock(mutex_);
    must_stop_ = true;
  }
  stopped_.notify_all();
  thread_.join();
  for (auto& [stream, line] : lines_)
    for (const Pending& pending : line.pending) cudaEventDestroy(pending.event);
  for (CUevent_st* event : free_events_) cudaEventDestroy(event);
}

void NcclWatch::add(const NcclOperation& operation, CUstream_st* stream) {
  const std::lock_guard lock(mutex_);
  CUevent_st* event = nullptr;
  if (free_events_.empty()) {
    MG_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  } else {
    event = free_events_.back();
    free_events_.pop_back();
  }
  MG_CUDA_CHECK(cudaEventRecord(event, stream));
  Line& line = lines_[stream];
  if (line.pending.empty()) line.since = Clock::now();
  line.pending.push_back({operation, event});
}

NcclWatch::Call::Call(NcclWatch& watch, const NcclOperation& operation) : watch_(&watch) {
  const std::lock_guard lock(watch_->mutex_);
  watch_->called_ = operation;
  watch_->called_at_ = Clock::now();
}

NcclWatch::Call::~Call() {
  const std::lock_guard lock(watch_->mutex_);
  watch_->called_.reset();
}

void NcclWatch::retire_finished() {
  for (auto& [stream, line] : lines_) {
    while (!line.pending.empty() && cudaEventQuery(line.pending.front().event) == cudaSuccess) {
      free_events_.push_back(line.pending.front().event);
      finished_.push_back(line.pending.front().operation);
      if (finished_.size() > kKeptFinished) finished_.pop_front();
      line.pending.pop_front();
      line.since = Clock::now();
    }
  }
}

std::string NcclWatch::overdue() {
  if (options_.timeout.count() == 0) return {};
  if (called_ && Clock::now() > called_at_ + options_.timeout)
    return fmt::format("rank {}: NCCL has not come back from the call of {} in {}", rank_, called_->where(),
                       seconds_text(options_.timeout));
  for (const auto& [stream, line] : lines_)
    if (!line.pending.empty() && Clock::now() > line.since + options_.timeout)
      return fmt::format("rank {}: {} has not come to its end in {}", rank_,
                         line.pending.front().operation.where(), seconds_text(options_.timeout));
  return {};
}

void NcclWatch::follow() {
  cudaSetDevice(device_index_);
  Clock::time_point failed_at{};
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, kInterval, [&] { return must_stop_; })) {
    if (has_failed()) {
      if (has_raised_.load(std::memory_order_acquire) || Clock::now() < failed_at + options_.grace) continue;
      log_error("rank {} did not stop within {} after a failure: the process ends", rank_,
                seconds_text(options_.grace));
      std::_Exit(1);
    }
    retire_finished();
    std::string reason = overdue();
    if (reason.empty()) {
      lock.unlock();
      reason = hooks_.find_error();
      lock.lock();
    }
    if (reason.empty() && !host_->is_aborted()) continue;
    own_failure_ = reason;
    const std::string lines = report();
    lock.unlock();
    std::future<void> ended = std::async(std::launch::async, [&] {
      cudaSetDevice(device_index_);
      end_all(reason);
    });
    const bool has_ended = ended.wait_for(options_.grace) == std::future_status::ready;
    log_error("{}", lines);
    if (!has_ended) {
      log_error("rank {}: NCCL did not end its operations within {}: the process ends", rank_,
                seconds_text(options_.grace));
      std::_Exit(1);
    }
    ended.get();
    failed_at = Clock::now();
    lock.lock();
  }
}

void NcclWatch::end_all(const std::string& own_reason) {
  if (!own_reason.empty()) host_->abort(own_reason);
  has_failed_.store(true, std::memory_order_release);
  hooks_.end_operations();
}

std::string NcclWatch::report() {
  std::string text = fmt::format("rank {}:", rank_);
  if (called_)
    text += fmt::format(" {} has been in NCCL's call for {};", called_->where(),
                        seconds_text(Clock::now() - called_at_));
  for (const auto& [stream, line] : lines_) {
    size_t shown = 0;
    for (const Pending& pending : line.pending) {
      if (shown == kShownPending) {
        text += fmt::format(" and {} more;", line.pending.size() - shown);
        break;
      }
      text += ' ' + pending.operation.where();
      text += shown++ == 0
                  ? fmt::format(" has run or waited for {};", seconds_text(Clock::now() - line.since))
                  : std::string(" waits behind it;");
    }
  }
  for (auto done = finished_.rbegin(); done != finished_.rend(); ++done)
    text += fmt::format(" {} is done;", done->where());
  if (text.back() == ':') return text + " no operation yet";
  text.pop_back();
  return text;
}

void NcclWatch::raise(const NcclOperation& operation) {
  std::string own_failure;
  {
    const std::lock_guard lock(mutex_);
    own_failure = own_failure_;
  }
  if (!own_failure.empty() && !has_raised_.exchange(true)) throw Error(own_failure);
  has_raised_ = true;
  host_->barrier(fmt::format("{}", operation.where()));  // raises, and says which rank failed and why
  throw PeerFailure(fmt::format("rank {}: {} was cut short", rank_, operation.where()));
}

}  // namespace megalith
