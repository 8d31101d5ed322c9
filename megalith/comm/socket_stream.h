#pragma once
// defines: SocketStream, SocketListener, SocketMessage

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

namespace megalith {

/// What the ranks of a socket group send to their server and get from it.
struct SocketMessage {
  enum class Kind : uint8_t { kHello, kExchange, kSend, kReceive, kReply, kAbort, kLeave, kAllLeft };
  Kind kind = Kind::kHello;
  int32_t rank = 0;     ///< of the world: the sender's, or whose failure it is
  int32_t place = 0;    ///< of the rank in the group; kSend and kReceive: of the sender of the payload
  int32_t size = 0;     ///< of the group; kHello: of the world; kSend and kReceive: the receiver's place
  int64_t number = 0;   ///< of the operation in the group
  std::string group;    ///< the same text in all its ranks, and in no other group
  std::string call;     ///< as describe() says it; kAbort: the reason
  std::string payload;  ///< kReply to an exchange: those of all ranks, each after its length

  std::string packed() const;
  /// Throws Error for what is not a message.
  static SocketMessage unpacked(const std::string& bytes);
};

/// How long the host of a peer may leave a connection without an answer. The hosts' kernels answer for their
/// processes, so a process that is busy is not lost, but a host without power or network is.
inline constexpr std::chrono::milliseconds kHostSilence = std::chrono::seconds(15);

/// A TCP connection that carries messages. Several threads may send, one receives.
class SocketStream {
 public:
  explicit SocketStream(int descriptor, std::chrono::milliseconds silence = kHostSilence);
  ~SocketStream();
  SocketStream(const SocketStream&) = delete;

  /// Tries again until the server is there. Throws Error when it is not in time; `what` names the address.
  static int connect(const std::string& host, int port, std::chrono::milliseconds timeout,
                     const std::string& what);

  /// False when the peer is gone.
  bool send(const SocketMessage& message);
  /// Nothing when the peer is gone, or sent more than `limit` bytes at once.
  std::optional<SocketMessage> receive(int64_t limit);
  /// Why receive() came back with nothing, for its thread: "its process has ended", or what happened to the
  /// host.
  std::string loss() const;
  /// Ends a receive() that waits in another thread.
  void shut_down();

 private:
  int descriptor_;
  std::chrono::milliseconds silence_;
  int receive_errno_ = 0;
  std::mutex sending_;
};

/// A port on all addresses of this machine.
class SocketListener {
 public:
  /// Port 0: any that is free. Throws Error naming the port where it is taken.
  explicit SocketListener(int port);
  ~SocketListener();
  SocketListener(const SocketListener&) = delete;

  int port() const { return port_; }
  /// The descriptor of a new connection; -1 when none came in `timeout`.
  int accept(std::chrono::milliseconds timeout);
  /// Ends an accept() that waits in another thread.
  void shut_down();

 private:
  int descriptor_ = -1;
  int port_ = 0;
};

}  // namespace megalith
