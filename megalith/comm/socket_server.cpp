#include "megalith/comm/socket_server.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "megalith/base/log.h"

namespace megalith {
namespace {

constexpr int64_t kHelloBytes = 4096;

void append(const std::string& payload, std::string& to) {
  const auto length = static_cast<int64_t>(payload.size());
  to.append(reinterpret_cast<const char*>(&length), sizeof length);
  to += payload;
}

}  // namespace

SocketServer::SocketServer(int port, int num_ranks, std::chrono::milliseconds silence)
    : listener_(port), num_ranks_(num_ranks), silence_(silence), attendance_(num_ranks), accepting_([this] {
        accept_all();
      }) {}

SocketServer::~SocketServer() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
    for (const auto& client : clients_) client->stream->shut_down();
  }
  listener_.shut_down();
  accepting_.join();
  for (std::thread& thread : threads_) thread.join();
}

bool SocketServer::wait_until_left(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return num_gone_ >= num_ranks_; });
}

void SocketServer::accept_all() {
  while (true) {
    const int descriptor = listener_.accept(std::chrono::milliseconds(1000));
    tell_who_is_missing();
    const std::lock_guard lock(mutex_);
    if (is_ending_) {
      if (descriptor >= 0) SocketStream(descriptor).shut_down();
      return;
    }
    if (descriptor < 0) continue;
    Client& client = *clients_.emplace_back(std::make_unique<Client>());
    client.stream = std::make_unique<SocketStream>(descriptor, silence_);
    threads_.emplace_back([this, &client] { serve(client); });
  }
}

void SocketServer::tell_who_is_missing() {
  std::optional<std::string> notice;
  {
    const std::lock_guard lock(mutex_);
    if (is_ending_ || failure_) return;
    notice = attendance_.notice(Attendance::Clock::now());
  }
  if (notice) log_info("{}", *notice);
}

void SocketServer::serve(Client& client) {
  try {
    int64_t limit = kHelloBytes;  // until the peer has said that it is a rank
    while (std::optional<SocketMessage> message = client.stream->receive(limit)) {
      handle(client, *message);
      limit = std::numeric_limits<int64_t>::max();
      if (client.rank < 0) break;
    }
  } catch (const std::exception&) {
    // What is not a message ends the connection.
  }
  const std::lock_guard lock(mutex_);
  client.stream->shut_down();
  if (client.rank < 0) return;
  if (!client.has_left && !is_ending_)
    fail_all(client.rank,
             fmt::format("the connection to rank {} was lost: {}", client.rank, client.stream->loss()));
  if (!client.has_left) ++num_gone_;
  client.has_left = true;
  ranks_.erase(client.rank);
  changed_.notify_all();
}

void SocketServer::handle(Client& client, SocketMessage& message) {
  using Kind = SocketMessage::Kind;
  const std::lock_guard lock(mutex_);
  if (client.rank < 0) {
    std::string wrong;
    if (message.kind != Kind::kHello) return;
    if (message.size != num_ranks_)
      wrong = fmt::format(
          "rank {} knows of {} ranks and rank 0 of {}: WORLD_SIZE, or the ranks of each process, differ",
          message.rank, message.size, num_ranks_);
    else if (message.rank < 0 || message.rank >= num_ranks_ || ranks_.contains(message.rank))
      wrong = fmt::format("two processes have RANK={}", message.rank);
    if (!wrong.empty()) {
      client.stream->send({.kind = Kind::kAbort, .rank = message.rank, .call = wrong});
      ++num_gone_;  // nobody waits for the rank that it would have been
      return fail_all(message.rank, wrong);
    }
    client.rank = message.rank;
    ranks_[message.rank] = &client;
    attendance_.comes(message.rank);
    if (failure_) client.stream->send(*failure_);
    return;
  }
  switch (message.kind) {
    case Kind::kExchange:
      return bring(message);
    case Kind::kSend: {
      const MessageKey key{message.group, message.place, message.size};
      mail_[key].push_back(std::move(message));
      return hand_on(key);
    }
    case Kind::kReceive: {
      const MessageKey key{message.group, message.place, message.size};
      wanted_[key].push_back(std::move(message));
      return hand_on(key);
    }
    case Kind::kAbort:
      return fail_all(client.rank, message.call + never_came());
    case Kind::kLeave:
      client.has_left = true;
      ++num_gone_;
      changed_.notify_all();
      return check_left();
    default:
      return;
  }
}

void SocketServer::bring(const SocketMessage& message) {
  if (failure_) return;
  const std::pair<std::string, int64_t> key{message.group, message.number};
  Exchange& exchange = exchanges_[key];
  if (exchange.num_arrived == 0) {
    exchange.payloads.resize(static_cast<size_t>(message.size));
    exchange.ranks.assign(static_cast<size_t>(message.size), -1);
    exchange.call = message.call;
  }
  const auto place = static_cast<size_t>(message.place);
  if (message.call != exchange.call || place >= exchange.ranks.size()) {
    const auto first =
        std::find_if(exchange.ranks.begin(), exchange.ranks.end(), [](int r) { return r >= 0; });
    return fail_all(
        message.rank,
        fmt::format("the ranks of '{}' disagree about operation {}: rank {} calls {}, "
                    "rank {} calls {}",
                    message.group, message.number, *first, exchange.call, message.rank, message.call));
  }
  exchange.payloads[place] = message.payload;
  exchange.ranks[place] = message.rank;
  if (++exchange.num_arrived < static_cast<int>(exchange.ranks.size())) return check_left();
  SocketMessage reply{.kind = SocketMessage::Kind::kReply, .number = message.number, .group = message.group};
  for (const std::string& payload : exchange.payloads) append(payload, reply.payload);
  for (const int rank : exchange.ranks) send_to(rank, reply);
  exchanges_.erase(key);
}

void SocketServer::hand_on(const MessageKey& key) {
  auto& mail = mail_[key];
  auto& wanted = wanted_[key];
  while (!mail.empty() && !wanted.empty()) {
    SocketMessage reply = std::move(mail.front());
    reply.kind = SocketMessage::Kind::kReply;
    reply.number = -wanted.front().number;
    send_to(wanted.front().rank, reply);
    mail.pop_front();
    wanted.pop_front();
  }
  check_left();
}

void SocketServer::check_left() {
  if (num_gone_ >= num_ranks_)
    for (const auto& [rank, client] : ranks_) client->stream->send({.kind = SocketMessage::Kind::kAllLeft});
}

void SocketServer::fail_all(int rank, const std::string& reason) {
  if (failure_) return;
  failure_ = SocketMessage{.kind = SocketMessage::Kind::kAbort, .rank = rank, .call = reason};
  for (const auto& [to, client] : ranks_) client->stream->send(*failure_);
}

std::string SocketServer::never_came() const {
  const std::string missing = attendance_.missing();
  return missing.empty() ? "" : fmt::format("; never came: rank {}", missing);
}

void SocketServer::send_to(int rank, const SocketMessage& message) {
  const auto client = ranks_.find(rank);
  if (client != ranks_.end()) client->second->stream->send(message);
}

}  // namespace megalith
