#include "megalith/parallel/pipeline/add_transfers.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

namespace megalith {
namespace {

bool makes_gradient(ActionKind kind) {
  return kind == ActionKind::kBackward || kind == ActionKind::kBackwardInput;
}

/// What passes between two stages: the activations of a microbatch, or their gradient.
struct Transfer {
  bool is_forward;
  int microbatch;
  int from_stage;
  int to_stage;
  friend bool operator==(const Transfer&, const Transfer&) = default;
};

class Inserter {
 public:
  explicit Inserter(Schedule& schedule) : schedule_(schedule) {
    for (int rank = 0; rank < schedule_.num_ranks; ++rank)
      for (const Action& action : schedule_.ranks[rank])
        if (const int to = consumer(rank, action); to >= 0)
          sent_[{rank, schedule_.rank_of(to)}].push_back(output(rank, action, to));
  }

  std::vector<Action> with_transfers(int rank) {
    std::vector<Action> actions;
    const std::vector<Action>& computations = schedule_.ranks[rank];
    for (size_t begin = 0, end = 0; begin < computations.size(); begin = end) {
      end = begin + (computations[begin].is_paired ? 2 : 1);
      for (size_t i = begin; i < end; ++i) receive_for(rank, computations[i], actions);
      for (size_t i = begin; i < end; ++i) actions.push_back(computations[i]);
      for (size_t i = begin; i < end; ++i) send_from(rank, computations[i], actions);
    }
    return actions;
  }

 private:
  void receive_for(int rank, const Action& action, std::vector<Action>& actions) {
    const int from = producer(rank, action);
    if (from < 0) return;
    const int stage = schedule_.stage_of(rank, action.chunk);
    receive_until({action.kind == ActionKind::kForward, action.microbatch, from, stage}, actions);
  }
  void send_from(int rank, const Action& action, std::vector<Action>& actions) const {
    const int to = consumer(rank, action);
    if (to < 0) return;
    const bool is_forward = action.kind == ActionKind::kForward;
    actions.push_back({.kind = is_forward ? ActionKind::kSendForward : ActionKind::kSendBackward,
                       .microbatch = action.microbatch,
                       .chunk = action.chunk,
                       .peer_stage = to});
  }
  // The stage on another rank that the action takes from or gives to, else -1.
  int producer(int rank, const Action& action) const {
    const int stage = schedule_.stage_of(rank, action.chunk);
    if (action.kind == ActionKind::kForward) return elsewhere(rank, stage - 1);
    return makes_gradient(action.kind) ? elsewhere(rank, stage + 1) : -1;
  }
  int consumer(int rank, const Action& action) const {
    const int stage = schedule_.stage_of(rank, action.chunk);
    if (action.kind == ActionKind::kForward) return elsewhere(rank, stage + 1);
    return makes_gradient(action.kind) ? elsewhere(rank, stage - 1) : -1;
  }
  int elsewhere(int rank, int stage) const {
    const bool exists = stage >= 0 && stage < schedule_.num_stages();
    return exists && schedule_.rank_of(stage) != rank ? stage : -1;
  }

  Transfer output(int rank, const Action& action, int to) const {
    return {action.kind == ActionKind::kForward, action.microbatch, schedule_.stage_of(rank, action.chunk),
            to};
  }

  // Receives all that the peer sent before, and the transfer itself.
  void receive_until(const Transfer& wanted, std::vector<Action>& actions) {
    const std::pair<int, int> link = {schedule_.rank_of(wanted.from_stage),
                                      schedule_.rank_of(wanted.to_stage)};
    const std::vector<Transfer>& sent = sent_[link];
    size_t& num_received = num_received_[link];
    const auto begin = sent.begin() + static_cast<std::ptrdiff_t>(num_received);
    const auto place = std::find(begin, sent.end(), wanted);
    if (place == sent.end()) return;  // received with a later one
    for (auto next = begin; next <= place; ++next, ++num_received)
      actions.push_back({.kind = next->is_forward ? ActionKind::kRecvForward : ActionKind::kRecvBackward,
                         .microbatch = next->microbatch,
                         .chunk = schedule_.chunk_of(next->to_stage),
                         .peer_stage = next->from_stage});
  }

  const Schedule& schedule_;
  std::map<std::pair<int, int>, std::vector<Transfer>> sent_;  // by (from rank, to rank), in order
  std::map<std::pair<int, int>, size_t> num_received_;
};

}  // namespace

void add_transfers(Schedule& schedule) {
  Inserter inserter(schedule);
  std::vector<std::vector<Action>> ranks;
  for (int rank = 0; rank < schedule.num_ranks; ++rank) ranks.push_back(inserter.with_transfers(rank));
  schedule.ranks = std::move(ranks);
}

}  // namespace megalith
