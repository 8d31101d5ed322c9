#include "megalith/comm/socket_world.h"

#include <limits>

#include "megalith/base/text.h"
#include "megalith/comm/communicator.h"

namespace megalith {

SocketWorld::SocketWorld(std::unique_ptr<SocketStream> stream, const Options& options)
    : stream_(std::move(stream)), options_(options), flight_(options.size), listening_([this] { listen(); }) {
  stream_->send({.kind = SocketMessage::Kind::kHello, .rank = options.rank, .size = options.size});
}

SocketWorld::~SocketWorld() {
  {
    const std::lock_guard lock(mutex_);
    is_closing_ = true;
  }
  stream_->shut_down();
  listening_.join();
}

void SocketWorld::listen() {
  std::string lost;
  try {
    while (std::optional<SocketMessage> message = stream_->receive(std::numeric_limits<int64_t>::max())) {
      if (message->kind == SocketMessage::Kind::kAbort) {
        keep({message->rank, message->call});
        continue;
      }
      const std::lock_guard lock(mutex_);
      if (message->kind == SocketMessage::Kind::kReply)
        replies_[{message->group, message->number}] = std::move(message->payload);
      else if (message->kind == SocketMessage::Kind::kAllLeft)
        has_all_left_ = true;
      changed_.notify_all();
    }
    lost = "the connection to rank 0 was lost: " + stream_->loss();
  } catch (const std::exception& error) {
    lost = error.what();
  }
  std::unique_lock lock(mutex_);
  const bool is_expected = has_all_left_ || is_closing_;
  lock.unlock();
  if (!is_expected) keep({0, lost});
  lock.lock();
  has_all_left_ = true;
  changed_.notify_all();
}

bool SocketWorld::keep(const Failure& failure) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_) return false;
    failure_ = failure;
    changed_.notify_all();
  }
  if (options_.on_failure) options_.on_failure(failure);
  return true;
}

void SocketWorld::send(const SocketMessage& message) {
  stream_->send(message);  // a lost connection is found by listen()
}

std::string SocketWorld::wait_for_reply(const std::string& group, int64_t number, const std::string& where) {
  const auto has_news = [&] { return failure_.has_value() || replies_.contains({group, number}); };
  std::unique_lock lock(mutex_);
  if (options_.timeout.count() == 0) {
    changed_.wait(lock, has_news);
  } else if (!changed_.wait_for(lock, options_.timeout, has_news)) {
    const std::string message =
        fmt::format("{} has waited {} for its peers; the last operations:\n{}", where,
                    human_duration(std::chrono::duration<double>(options_.timeout).count()),
                    flight_.report_of(options_.rank));
    lock.unlock();
    abort(message);
    fail("{}", message);
  }
  const auto reply = replies_.find({group, number});
  if (reply == replies_.end()) raise(where, *failure_);
  std::string payload = std::move(reply->second);
  replies_.erase(reply);
  return payload;
}

void SocketWorld::check_alive(const std::string& where) {
  if (const auto failed = failure()) raise(where, *failed);
}

void SocketWorld::raise(const std::string& where, const Failure& failure) const {
  throw PeerFailure(
      fmt::format("{} was cut short because rank {} failed: {}", where, failure.rank, failure.reason));
}

void SocketWorld::abort(const std::string& reason) {
  const std::string text = reason.empty() ? "no reason given" : reason;
  if (keep({options_.rank, text}))
    stream_->send({.kind = SocketMessage::Kind::kAbort, .rank = options_.rank, .call = text});
}

std::optional<SocketWorld::Failure> SocketWorld::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

void SocketWorld::leave(std::chrono::milliseconds grace) {
  stream_->send({.kind = SocketMessage::Kind::kLeave, .rank = options_.rank});
  std::unique_lock lock(mutex_);
  const auto all_left = [&] { return has_all_left_; };
  // Who is through waits for those that still work, but not for those that hang after a failure.
  changed_.wait(lock, [&] { return has_all_left_ || failure_.has_value(); });
  changed_.wait_for(lock, grace, all_left);
}

}  // namespace megalith
