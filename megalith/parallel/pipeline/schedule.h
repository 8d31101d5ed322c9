#pragma once
// defines: ActionKind, Action, Placement, Schedule, name_of, describe

#include <cstdint>
#include <string>
#include <vector>

namespace megalith {

enum class ActionKind : uint8_t {
  kForward,
  kBackward,        ///< gradients of input and weights
  kBackwardInput,   ///< the gradient of the input alone; a kBackwardWeight follows
  kBackwardWeight,  ///< the weight gradients that a kBackwardInput left
  kSendForward,
  kRecvForward,
  kSendBackward,
  kRecvBackward,
};

const char* name_of(ActionKind kind);

/// One thing a rank does for one microbatch in one of its model chunks. Between stages of one rank nothing is
/// sent: the output of the first is the input of the second.
struct Action {
  ActionKind kind = ActionKind::kForward;
  int microbatch = 0;
  int chunk = 0;        ///< of this rank, [0, num_chunks)
  int peer_stage = -1;  ///< whom to send to or receive from; -1 for computation
  /// Of a forward: it runs together with the backward that follows it at once, of another microbatch. What
  /// both need stands before the two, what they send behind them.
  bool is_paired = false;

  bool is_send() const { return kind == ActionKind::kSendForward || kind == ActionKind::kSendBackward; }
  bool is_recv() const { return kind == ActionKind::kRecvForward || kind == ActionKind::kRecvBackward; }
  bool is_compute() const { return !is_send() && !is_recv(); }
  friend bool operator==(const Action&, const Action&) = default;
};

/// How the stages, numbered by depth in the model, lie on the ranks.
enum class Placement : uint8_t {
  kLoop,  ///< chunk c of rank r is stage c * num_ranks + r
  kVee,   ///< two chunks: stage r on the way down, stage 2 num_ranks - 1 - r on the way up
};

/// What every pipeline rank does in one step, in order. Sends are buffered and return at once, receives wait;
/// between two ranks messages arrive in the order in which they were sent, and are received in that order.
struct Schedule {
  int num_ranks = 0;
  int num_chunks = 0;  ///< model chunks of each rank
  int num_microbatches = 0;
  Placement placement = Placement::kLoop;
  std::vector<std::vector<Action>> ranks;

  int num_stages() const { return num_ranks * num_chunks; }
  int stage_of(int rank, int chunk) const;
  int rank_of(int stage) const;
  int chunk_of(int stage) const;
};

/// "forward of microbatch 3 in chunk 1", "recv_forward of microbatch 0 in chunk 0 from stage 2"
std::string describe(const Action& action);

}  // namespace megalith
