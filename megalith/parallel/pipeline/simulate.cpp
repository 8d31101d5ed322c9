#include "megalith/parallel/pipeline/simulate.h"

#include <algorithm>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "megalith/base/error.h"

namespace megalith {
namespace {

/// What a stage has of one microbatch.
struct StageState {
  bool has_input = false;
  bool has_forward = false;
  bool has_gradient = false;  // of its output
  bool has_backward = false;
  bool has_weight = false;
};

struct Message {
  Action sent;
  int from_stage;
  double arrival;
};

class Simulation {
 public:
  Simulation(const Schedule& schedule, const ActionCosts& costs)
      : schedule_(schedule),
        costs_(costs),
        next_(schedule.ranks.size(), 0),
        now_(schedule.ranks.size(), 0),
        in_flight_(schedule.ranks.size(), 0),
        states_(static_cast<size_t>(schedule.num_stages()) * static_cast<size_t>(schedule.num_microbatches)) {
    MG_CHECK(static_cast<int>(schedule.ranks.size()) == schedule.num_ranks,
             "pipeline schedule: {} orders for {} ranks", schedule.ranks.size(), schedule.num_ranks);
    MG_CHECK(costs.stage_work.empty() || static_cast<int>(costs.stage_work.size()) == schedule.num_stages(),
             "pipeline schedule: the work of {} stages is given, there are {}", costs.stage_work.size(),
             schedule.num_stages());
    timeline_.ranks.resize(schedule.ranks.size());
    timeline_.busy.resize(schedule.ranks.size());
    timeline_.peak_in_flight.resize(schedule.ranks.size());
  }

  Timeline run() {
    bool has_moved = true;
    while (has_moved) {
      has_moved = false;
      for (int rank = 0; rank < schedule_.num_ranks; ++rank)
        while (next_[rank] < schedule_.ranks[rank].size() && step(rank)) has_moved = true;
    }
    check_finished();
    for (const double end : now_) timeline_.duration = std::max(timeline_.duration, end);
    double busy = 0;
    for (const double time : timeline_.busy) busy += time;
    const double available = timeline_.duration * schedule_.num_ranks;
    timeline_.bubble_fraction = available > 0 ? 1 - busy / available : 0;
    return std::move(timeline_);
  }

 private:
  StageState& state(int stage, int microbatch) {
    return states_[static_cast<size_t>(stage) * static_cast<size_t>(schedule_.num_microbatches) +
                   static_cast<size_t>(microbatch)];
  }
  std::string where(int rank) const {
    return fmt::format("pipeline schedule, rank {}, action {}: {}", rank, next_[rank],
                       describe(schedule_.ranks[rank][next_[rank]]));
  }

  // The next action of the rank; false when it waits for a message.
  bool step(int rank) {
    const Action& action = schedule_.ranks[rank][next_[rank]];
    MG_CHECK(action.chunk >= 0 && action.chunk < schedule_.num_chunks && action.microbatch >= 0 &&
                 action.microbatch < schedule_.num_microbatches,
             "{}: there are {} chunks and {} microbatches", where(rank), schedule_.num_chunks,
             schedule_.num_microbatches);
    const double begin = now_[rank];
    const int stage = schedule_.stage_of(rank, action.chunk);
    if (action.is_recv()) {
      if (!receive(rank, stage, action)) return false;
    } else if (action.is_send()) {
      send(rank, stage, action);
    } else {
      compute(rank, stage, action);
    }
    timeline_.ranks[rank].push_back({action, begin, now_[rank]});
    ++next_[rank];
    return true;
  }

  void check_peer(int rank, int stage, const Action& action) {
    const bool goes_down =
        action.kind == ActionKind::kSendForward || action.kind == ActionKind::kRecvBackward;
    const int peer = goes_down ? stage + 1 : stage - 1;
    MG_CHECK(action.peer_stage == peer && peer >= 0 && peer < schedule_.num_stages() &&
                 schedule_.rank_of(peer) != rank,
             "{}: stage {} has no such neighbour on another rank", where(rank), stage);
  }

  void send(int rank, int stage, const Action& action) {
    check_peer(rank, stage, action);
    const StageState& own = state(stage, action.microbatch);
    const bool is_ready = action.kind == ActionKind::kSendForward ? own.has_forward : own.has_backward;
    MG_CHECK(is_ready, "{}: it was not computed", where(rank));
    mail_[{rank, schedule_.rank_of(action.peer_stage)}].push_back(
        {action, stage, now_[rank] + costs_.transfer});
  }

  bool receive(int rank, int stage, const Action& action) {
    check_peer(rank, stage, action);
    std::deque<Message>& mail = mail_[{schedule_.rank_of(action.peer_stage), rank}];
    if (mail.empty()) return false;
    const Message& message = mail.front();
    const bool is_forward = action.kind == ActionKind::kRecvForward;
    MG_CHECK(message.sent.peer_stage == stage && message.from_stage == action.peer_stage &&
                 message.sent.microbatch == action.microbatch &&
                 (message.sent.kind == ActionKind::kSendForward) == is_forward,
             "{}: the next message is {}, from stage {}", where(rank), describe(message.sent),
             message.from_stage);
    now_[rank] = std::max(now_[rank], message.arrival);
    StageState& own = state(stage, action.microbatch);
    (is_forward ? own.has_input : own.has_gradient) = true;
    mail.pop_front();
    return true;
  }

  void compute(int rank, int stage, const Action& action) {
    StageState& own = state(stage, action.microbatch);
    const double share = (costs_.stage_work.empty() ? 1 : costs_.stage_work[static_cast<size_t>(stage)]) /
                         schedule_.num_chunks;
    double time = 0;
    switch (action.kind) {
      case ActionKind::kForward: {
        if (action.is_paired) check_pair(rank, action);
        MG_CHECK(!own.has_forward, "{}: it was done before", where(rank));
        MG_CHECK(own.has_input || stage == 0, "{}: its input is not there", where(rank));
        own.has_forward = true;
        pass_on(rank, stage + 1, action.microbatch, &StageState::has_input);
        ++in_flight_[rank];
        timeline_.peak_in_flight[rank] =
            std::max(timeline_.peak_in_flight[rank], in_flight_[rank] - (action.is_paired ? 1 : 0));
        time = costs_.forward - (action.is_paired ? costs_.saved_by_pair : 0);
        break;
      }
      case ActionKind::kBackwardWeight:
        MG_CHECK(own.has_backward, "{}: backward_input comes first", where(rank));
        MG_CHECK(!own.has_weight, "{}: it was done before", where(rank));
        own.has_weight = true;
        --in_flight_[rank];
        time = costs_.backward_weight;
        break;
      default: {
        MG_CHECK(!own.has_backward, "{}: it was done before", where(rank));
        MG_CHECK(own.has_forward, "{}: forward comes first", where(rank));
        MG_CHECK(own.has_gradient || stage + 1 == schedule_.num_stages(), "{}: its gradient is not there",
                 where(rank));
        own.has_backward = true;
        pass_on(rank, stage - 1, action.microbatch, &StageState::has_gradient);
        time = costs_.backward_input;
        if (action.kind == ActionKind::kBackward) {
          own.has_weight = true;
          --in_flight_[rank];
          time += costs_.backward_weight;
        }
      }
    }
    now_[rank] += time * share;
    timeline_.busy[rank] += time * share;
  }

  void check_pair(int rank, const Action& forward) const {
    const size_t second = next_[rank] + 1;
    const std::vector<Action>& order = schedule_.ranks[rank];
    MG_CHECK(second < order.size() && order[second].kind == ActionKind::kBackward &&
                 order[second].microbatch != forward.microbatch,
             "{}: no backward of another microbatch follows, to make a pair", where(rank));
  }

  // A neighbouring stage on the same rank has it at once.
  void pass_on(int rank, int stage, int microbatch, bool StageState::*what) {
    if (stage >= 0 && stage < schedule_.num_stages() && schedule_.rank_of(stage) == rank)
      state(stage, microbatch).*what = true;
  }

  void check_finished() {
    for (int rank = 0; rank < schedule_.num_ranks; ++rank)
      MG_CHECK(next_[rank] == schedule_.ranks[rank].size(), "{}: it waits for a message for ever",
               where(rank));
    for (int stage = 0; stage < schedule_.num_stages(); ++stage)
      for (int microbatch = 0; microbatch < schedule_.num_microbatches; ++microbatch) {
        const StageState& done = state(stage, microbatch);
        MG_CHECK(done.has_forward && done.has_backward && done.has_weight,
                 "pipeline schedule: stage {} leaves out {} of microbatch {}", stage,
                 !done.has_forward    ? "the forward"
                 : !done.has_backward ? "the backward"
                                      : "the weight gradients",
                 microbatch);
      }
    for (const auto& [link, mail] : mail_)
      MG_CHECK(mail.empty(), "pipeline schedule: rank {} does not receive {}", link.second,
               describe(mail.front().sent));
  }

  const Schedule& schedule_;
  const ActionCosts& costs_;
  std::vector<size_t> next_;
  std::vector<double> now_;
  std::vector<int> in_flight_;
  std::vector<StageState> states_;                           // [num_stages, num_microbatches]
  std::map<std::pair<int, int>, std::deque<Message>> mail_;  // by (from rank, to rank)
  Timeline timeline_;
};

}  // namespace

Timeline simulate(const Schedule& schedule, const ActionCosts& costs) {
  return Simulation(schedule, costs).run();
}

void validate(const Schedule& schedule) {
  simulate(schedule, {});
}

}  // namespace megalith
