#include "megalith/parallel/pipeline/schedule.h"

#include <fmt/format.h>

namespace megalith {

const char* name_of(ActionKind kind) {
  switch (kind) {
    case ActionKind::kForward:
      return "forward";
    case ActionKind::kBackward:
      return "backward";
    case ActionKind::kBackwardInput:
      return "backward_input";
    case ActionKind::kBackwardWeight:
      return "backward_weight";
    case ActionKind::kSendForward:
      return "send_forward";
    case ActionKind::kRecvForward:
      return "recv_forward";
    case ActionKind::kSendBackward:
      return "send_backward";
    case ActionKind::kRecvBackward:
      return "recv_backward";
  }
  return "?";
}

int Schedule::stage_of(int rank, int chunk) const {
  if (placement == Placement::kVee && chunk == 1) return 2 * num_ranks - 1 - rank;
  return chunk * num_ranks + rank;
}

int Schedule::rank_of(int stage) const {
  if (placement == Placement::kVee && stage >= num_ranks) return 2 * num_ranks - 1 - stage;
  return stage % num_ranks;
}

int Schedule::chunk_of(int stage) const {
  return stage / num_ranks;
}

std::string describe(const Action& action) {
  std::string text =
      fmt::format("{} of microbatch {} in chunk {}", name_of(action.kind), action.microbatch, action.chunk);
  if (!action.is_compute())
    text += fmt::format(" {} stage {}", action.is_send() ? "to" : "from", action.peer_stage);
  return text;
}

}  // namespace megalith
