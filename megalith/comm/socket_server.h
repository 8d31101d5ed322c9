#pragma once
// defines: SocketServer

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "megalith/comm/attendance.h"
#include "megalith/comm/socket_stream.h"

namespace megalith {

/// The meeting place of ranks that are processes without MPI, in the process of rank 0: gives every rank of a
/// group what all of them brought, hands messages on, and tells everyone of a failure. For what ranks say to
/// each other, not for the data of a step on many nodes: all of it passes through one process. Logs who is
/// missing while it waits for ranks to come.
class SocketServer {
 public:
  SocketServer(int port, int num_ranks, std::chrono::milliseconds silence = kHostSilence);
  /// Ends all connections.
  ~SocketServer();
  SocketServer(const SocketServer&) = delete;

  int port() const { return listener_.port(); }
  /// Waits until all ranks have left or are lost; false when they have not in `timeout`.
  bool wait_until_left(std::chrono::milliseconds timeout);

 private:
  struct Client {
    std::unique_ptr<SocketStream> stream;
    int rank = -1;
    bool has_left = false;
  };
  struct Exchange {
    std::vector<std::string> payloads;  // by place in the group
    std::vector<int> ranks;             // of the world, by place; -1: not yet
    std::string call;
    int num_arrived = 0;
  };
  using MessageKey = std::tuple<std::string, int, int>;  // group, places of the sender and of the receiver

  void accept_all();
  void serve(Client& client);
  void handle(Client& client, SocketMessage& message);
  void tell_who_is_missing();
  // All below with the lock held.
  void bring(const SocketMessage& message);
  void hand_on(const MessageKey& key);
  void fail_all(int rank, const std::string& reason);
  void check_left();
  std::string never_came() const;
  void send_to(int rank, const SocketMessage& message);

  SocketListener listener_;
  int num_ranks_;
  std::chrono::milliseconds silence_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // All under mutex_:
  Attendance attendance_;
  std::map<int, Client*> ranks_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::map<std::pair<std::string, int64_t>, Exchange> exchanges_;
  std::map<MessageKey, std::deque<SocketMessage>> mail_, wanted_;
  std::optional<SocketMessage> failure_;  // what all ranks are told, also those that come later
  bool is_ending_ = false;
  int num_gone_ = 0;
  std::vector<std::thread> threads_;  // one for each connection
  std::thread accepting_;
};

}  // namespace megalith
