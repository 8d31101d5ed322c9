#pragma once
// defines: SocketWorld

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "megalith/comm/flight_record.h"
#include "megalith/comm/socket_stream.h"

namespace megalith {

/// One rank's connection to the server, which all its groups share.
class SocketWorld {
 public:
  struct Failure {
    int rank = 0;
    std::string reason;
  };
  struct Options {
    int rank = 0, size = 1;
    std::chrono::milliseconds timeout{};  ///< of a wait for peers; zero: for ever
    /// Hears of the first failure of any rank, from any thread.
    std::function<void(const Failure&)> on_failure = {};
  };
  SocketWorld(std::unique_ptr<SocketStream> stream, const Options& options);
  ~SocketWorld();
  SocketWorld(const SocketWorld&) = delete;

  int rank() const { return options_.rank; }
  int size() const { return options_.size; }
  FlightRecord& flight() { return flight_; }

  void send(const SocketMessage& message);
  /// The answer to what was sent with this group and number. Throws Error when it does not come in time,
  /// PeerFailure when a rank failed; `where` begins the message.
  std::string wait_for_reply(const std::string& group, int64_t number, const std::string& where);

  void check_alive(const std::string& where);
  void abort(const std::string& reason);
  std::optional<Failure> failure() const;
  /// Says that this rank is done, and waits until all are.
  void leave(std::chrono::milliseconds grace);

 private:
  void listen();
  /// The first failure is kept. True where this is the first.
  bool keep(const Failure& failure);
  [[noreturn]] void raise(const std::string& where, const Failure& failure) const;

  std::unique_ptr<SocketStream> stream_;
  Options options_;
  FlightRecord flight_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All under mutex_:
  std::map<std::pair<std::string, int64_t>, std::string> replies_;
  std::optional<Failure> failure_;
  bool has_all_left_ = false;
  bool is_closing_ = false;
  std::thread listening_;
};

}  // namespace megalith
