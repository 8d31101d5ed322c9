#include "megalith/comm/socket_stream.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {

// The fields before the texts, then the length of each text.
struct Header {
  uint32_t magic;
  int32_t kind;
  int32_t rank, place, size;
  int32_t padding;
  int64_t number;
  int64_t group_bytes, call_bytes, payload_bytes;
};
constexpr uint32_t kMagic = 0x4d474c31;

void send_small_at_once(int descriptor) {
  const int on = 1;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

bool send_all(int descriptor, const char* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t sent = ::send(descriptor, data, bytes, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    data += sent;
    bytes -= static_cast<size_t>(sent);
  }
  return true;
}

// `error`: errno, 0 where the peer has closed the connection.
bool receive_all(int descriptor, char* data, size_t bytes, int& error) {
  while (bytes > 0) {
    const ssize_t received = ::recv(descriptor, data, bytes, 0);
    if (received < 0 && errno == EINTR) continue;
    error = received < 0 ? errno : 0;
    if (received <= 0) return false;
    data += received;
    bytes -= static_cast<size_t>(received);
  }
  return true;
}

// Idle connections are probed, and neither probes nor data may stay without an answer for longer.
void lose_silent_hosts(int descriptor, std::chrono::milliseconds silence) {
  const int on = 1, probes = 5;
  const auto limit = static_cast<unsigned>(silence.count());
  const int idle = std::max(1, static_cast<int>(silence.count() / 3000));
  const int interval = std::max(1, static_cast<int>(silence.count() / (1500 * probes)));
  setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit);
}

}  // namespace

std::string SocketMessage::packed() const {
  Header header{};
  header.magic = kMagic;
  header.kind = static_cast<int32_t>(kind);
  header.rank = rank, header.place = place, header.size = size;
  header.number = number;
  header.group_bytes = static_cast<int64_t>(group.size());
  header.call_bytes = static_cast<int64_t>(call.size());
  header.payload_bytes = static_cast<int64_t>(payload.size());
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  bytes.reserve(sizeof header + group.size() + call.size() + payload.size());
  bytes += group;
  bytes += call;
  bytes += payload;
  return bytes;
}

SocketMessage SocketMessage::unpacked(const std::string& bytes) {
  Header header;
  MG_CHECK(bytes.size() >= sizeof header, "a message of {} bytes is too short", bytes.size());
  std::memcpy(&header, bytes.data(), sizeof header);
  const auto rest = static_cast<int64_t>(bytes.size() - sizeof header);
  const bool fits = header.group_bytes >= 0 && header.call_bytes >= 0 && header.payload_bytes >= 0 &&
                    header.group_bytes <= rest && header.call_bytes <= rest - header.group_bytes &&
                    header.payload_bytes == rest - header.group_bytes - header.call_bytes;
  MG_CHECK(header.magic == kMagic && header.kind >= 0 &&
               header.kind <= static_cast<int32_t>(Kind::kAllLeft) && fits,
           "{} bytes are not a message between ranks", bytes.size());
  SocketMessage message{.kind = static_cast<Kind>(header.kind),
                        .rank = header.rank,
                        .place = header.place,
                        .size = header.size,
                        .number = header.number};
  const char* text = bytes.data() + sizeof header;
  message.group.assign(text, static_cast<size_t>(header.group_bytes));
  message.call.assign(text + header.group_bytes, static_cast<size_t>(header.call_bytes));
  message.payload.assign(text + header.group_bytes + header.call_bytes,
                         static_cast<size_t>(header.payload_bytes));
  return message;
}

SocketStream::SocketStream(int descriptor, std::chrono::milliseconds silence)
    : descriptor_(descriptor), silence_(silence) {
  lose_silent_hosts(descriptor, silence);
}

SocketStream::~SocketStream() {
  ::close(descriptor_);
}

int SocketStream::connect(const std::string& host, int port, std::chrono::milliseconds timeout,
                          const std::string& what) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  std::string reason;
  auto pause = std::chrono::milliseconds(1);
  do {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int code = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (code != 0) reason = gai_strerror(code);
    for (addrinfo* at = code == 0 ? found : nullptr; at != nullptr; at = at->ai_next) {
      const int descriptor = ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
      if (descriptor < 0) continue;
      if (::connect(descriptor, at->ai_addr, at->ai_addrlen) == 0) {
        freeaddrinfo(found);
        send_small_at_once(descriptor);
        return descriptor;
      }
      reason = system_message(errno);
      ::close(descriptor);
    }
    if (code == 0) freeaddrinfo(found);
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::milliseconds(100));
  } while (std::chrono::steady_clock::now() < end);
  fail("{}: rank 0 was not reached in {}: {}", what,
       human_duration(std::chrono::duration<double>(timeout).count()), reason);
}

bool SocketStream::send(const SocketMessage& message) {
  const std::string bytes = message.packed();
  const auto length = static_cast<int64_t>(bytes.size());
  const std::lock_guard lock(sending_);
  return send_all(descriptor_, reinterpret_cast<const char*>(&length), sizeof length) &&
         send_all(descriptor_, bytes.data(), bytes.size());
}

std::optional<SocketMessage> SocketStream::receive(int64_t limit) {
  int64_t length = 0;
  if (!receive_all(descriptor_, reinterpret_cast<char*>(&length), sizeof length, receive_errno_))
    return std::nullopt;
  if (length < 0 || length > limit) return std::nullopt;
  std::string bytes(static_cast<size_t>(length), '\0');
  if (!receive_all(descriptor_, bytes.data(), bytes.size(), receive_errno_)) return std::nullopt;
  return SocketMessage::unpacked(bytes);
}

std::string SocketStream::loss() const {
  if (receive_errno_ == 0 || receive_errno_ == ECONNRESET) return "its process has ended";
  if (receive_errno_ == ETIMEDOUT || receive_errno_ == EHOSTUNREACH || receive_errno_ == ENETUNREACH)
    return fmt::format("its host has not answered for {}",
                       human_duration(std::chrono::duration<double>(silence_).count()));
  return system_message(receive_errno_);
}

void SocketStream::shut_down() {
  ::shutdown(descriptor_, SHUT_RDWR);
}

SocketListener::SocketListener(int port) {
  descriptor_ = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool has_ipv6 = descriptor_ >= 0;
  if (!has_ipv6) descriptor_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  MG_CHECK(descriptor_ >= 0, "port {}: {}", port, system_message(errno));
  const int on = 1, off = 0;
  setsockopt(descriptor_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in6 any6{};
  sockaddr_in any4{};
  any6.sin6_family = AF_INET6, any6.sin6_addr = in6addr_any,
  any6.sin6_port = htons(static_cast<uint16_t>(port));
  any4.sin_family = AF_INET, any4.sin_addr.s_addr = INADDR_ANY,
  any4.sin_port = htons(static_cast<uint16_t>(port));
  if (has_ipv6) setsockopt(descriptor_, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  auto* address = has_ipv6 ? reinterpret_cast<sockaddr*>(&any6) : reinterpret_cast<sockaddr*>(&any4);
  socklen_t bytes = has_ipv6 ? sizeof any6 : sizeof any4;
  if (::bind(descriptor_, address, bytes) != 0 || ::listen(descriptor_, 1024) != 0) {
    const std::string reason = system_message(errno);
    ::close(descriptor_);
    fail("MASTER_PORT {}: rank 0 cannot listen there: {}", port, reason);
  }
  ::getsockname(descriptor_, address, &bytes);
  port_ = ntohs(has_ipv6 ? any6.sin6_port : any4.sin_port);
}

SocketListener::~SocketListener() {
  ::close(descriptor_);
}

void SocketListener::shut_down() {
  ::shutdown(descriptor_, SHUT_RDWR);
}

int SocketListener::accept(std::chrono::milliseconds timeout) {
  pollfd waiting{.fd = descriptor_, .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, static_cast<int>(timeout.count())) <= 0) return -1;
  const int descriptor = ::accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC);
  if (descriptor >= 0) send_small_at_once(descriptor);
  return descriptor;
}

}  // namespace megalith
