#pragma once
// defines: MpiGroup, MpiOperation, MpiOutgoing, MpiIncoming, MpiWorld

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <mpi.h>

#include "megalith/comm/collective.h"
#include "megalith/comm/flight_record.h"
#include "megalith/comm/mpi_launch.h"

namespace megalith {

/// Some ranks of the world under a number of their own, which keeps their messages apart from those of other
/// groups.
struct MpiGroup {
  std::string name;
  std::vector<int> world_ranks;
  int id = 0;
};

/// What a rank of a group is doing.
struct MpiOperation {
  const MpiGroup& group;
  int rank = 0;  ///< of the group
  int64_t number = 0;
  const CollectiveCall& call;
};

/// Ranks are those of the group. A copied payload may be changed as soon as exchange() returns and need not
/// have arrived by then; a borrowed one was passed on.
struct MpiOutgoing {
  int to = 0;
  const std::byte* data = nullptr;
  size_t bytes = 0;
};
struct MpiIncoming {
  int from = 0;
  std::byte* data = nullptr;
  size_t bytes = 0;
};
enum class MpiPayload { kBorrowed, kCopied };
/// Collectives must be the same call with the same number; messages need the same dtype, count and label.
enum class MpiMatching { kCollective, kMessage };

/// What the groups of one run share: the exchange of messages and the failure of any rank. Messages are a
/// header, which says what operation they belong to, and a payload, inside the header where it is small.
/// Nothing here blocks inside MPI: all waits poll, so that a notice of failure ends them. Calls from several
/// threads take turns.
class MpiWorld {
 public:
  struct Failure {
    int rank = 0;
    std::string reason;
  };

  /// Collective over `parent`.
  MpiWorld(MPI_Comm parent, const MpiOptions& options);
  ~MpiWorld();
  MpiWorld(const MpiWorld&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  FlightRecord& flight() { return flight_; }

  /// Sends and receives all at once and waits for it. Throws Error for what does not match and where a peer
  /// has finished or does not come in time, PeerFailure when another rank failed.
  void exchange(const MpiOperation& operation, const std::vector<MpiOutgoing>& outgoing,
                const std::vector<MpiIncoming>& incoming, MpiPayload payload, MpiMatching matching);

  void check_alive(const MpiOperation& operation);
  /// Ends all operations of all ranks. The first reason is kept.
  void abort(const std::string& reason);
  std::optional<Failure> failure() const;
  /// failure(), after a look at what the other ranks have to say.
  bool hears_of_failure();

  /// Waits until all ranks are here and all that was sent has gone; afterwards everybody knows whether the
  /// run failed. Kills the job when ranks do not come within the grace after a failure.
  void finish();

  /// The next number that no group of this rank has; groups are numbered by agreement.
  int next_group_id() const { return next_group_id_; }
  void set_next_group_id(int id);

 private:
  using Lock = std::unique_lock<std::mutex>;
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kInlineBytes = 4096;
  struct Header {
    int64_t number;
    int64_t payload_bytes;
    CollectiveCall call;
  };
  static constexpr size_t kHeaderBytes = sizeof(Header);
  struct Notice {
    enum class Kind : int32_t { kFailure, kLeave };
    Kind kind;
    int32_t rank;
    int64_t num_headers;  // kLeave: sent to the receiver in all
    char reason[2000];
  };
  struct Sending {
    std::vector<std::byte> data;  // empty where the payload is borrowed
    std::vector<MPI_Request> requests;
  };
  struct Receiving {
    MpiIncoming target;
    std::vector<std::byte> header;
    std::vector<MPI_Request> requests;
    bool has_header = false;
    bool is_done = false;
  };
  struct Peer {
    int64_t headers_sent = 0;
    int64_t headers_received = 0;
    std::optional<int64_t> headers_at_leave;
    Clock::time_point left_at;
  };

  // All below with the lock held.
  void send(const MpiOperation& operation, const MpiOutgoing& out, MpiPayload payload, MpiMatching matching,
            std::vector<MPI_Request>& borrowed);
  void receive_header(const MpiOperation& operation, Receiving& receiving, MpiMatching matching);
  bool progress(const MpiOperation& operation, Receiving& receiving, MpiMatching matching);
  void check_header(const MpiOperation& operation, const Receiving& receiving, MpiMatching matching) const;
  void check_waiting(const MpiOperation& operation, const std::vector<Receiving>& receiving,
                     Clock::time_point begin) const;
  void abandon(std::vector<Receiving>& receiving, std::vector<MPI_Request>& borrowed);
  void poll();
  void poll_sends();
  void listen();
  void notify(const Notice& notice, int to);
  void fail_with(int rank, const std::string& reason);
  void drain();
  void settle(Lock& lock);
  void kill_if_overdue();
  [[noreturn]] void raise_peer_failure(const MpiOperation& operation) const;
  std::string where(const MpiOperation& operation) const;

  MPI_Comm data_ = MPI_COMM_NULL;
  MPI_Comm control_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  MpiOptions options_;
  FlightRecord flight_;

  mutable std::mutex mutex_;
  std::vector<Peer> peers_;
  std::list<Sending> sending_;      // on their way, from buffers of their own or of a caller that failed
  std::list<Receiving> abandoned_;  // of operations that failed
  Notice heard_{};
  MPI_Request listening_ = MPI_REQUEST_NULL;
  std::optional<Failure> failure_;
  Clock::time_point failed_at_;
  bool is_settled_ = false;
  int next_group_id_ = 1;
};

}  // namespace megalith
