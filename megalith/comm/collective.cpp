#include "megalith/comm/collective.h"

#include <algorithm>

#include <fmt/format.h>

namespace megalith {

Label::Label(std::string_view text) : length_(static_cast<uint8_t>(std::min(text.size(), text_.size()))) {
  std::copy_n(text.begin(), length_, text_.begin());
}

const char* name_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return "sum";
    case ReduceOp::kMax:
      return "max";
    case ReduceOp::kMin:
      return "min";
    case ReduceOp::kAvg:
      return "avg";
  }
  return "?";
}

const char* name_of(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return "all_reduce";
    case CollectiveKind::kAllGather:
      return "all_gather";
    case CollectiveKind::kReduceScatter:
      return "reduce_scatter";
    case CollectiveKind::kBroadcast:
      return "broadcast";
    case CollectiveKind::kAllToAll:
      return "all_to_all";
    case CollectiveKind::kAllToAllV:
      return "all_to_all_v";
    case CollectiveKind::kGather:
      return "gather";
    case CollectiveKind::kScatter:
      return "scatter";
    case CollectiveKind::kBarrier:
      return "barrier";
    case CollectiveKind::kSplit:
      return "split";
    case CollectiveKind::kSend:
      return "send";
    case CollectiveKind::kRecv:
      return "recv";
    case CollectiveKind::kSendRecv:
      return "send_recv";
  }
  return "?";
}

bool is_floating(DType dtype) {
  return dtype != DType::kI64 && dtype != DType::kI32 && dtype != DType::kU8;
}

namespace {

bool reduces(CollectiveKind kind) {
  return kind == CollectiveKind::kAllReduce || kind == CollectiveKind::kReduceScatter;
}

// The input holds one block for each rank, so the count alone would read as too small.
bool takes_blocks(CollectiveKind kind) {
  return kind == CollectiveKind::kReduceScatter || kind == CollectiveKind::kAllToAll ||
         kind == CollectiveKind::kScatter;
}

const char* preposition(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kSend:
    case CollectiveKind::kSendRecv:
    case CollectiveKind::kGather:
      return "to";
    default:
      return "from";
  }
}

}  // namespace

std::string describe(const CollectiveCall& call) {
  std::string text = name_of(call.kind);
  if (reduces(call.kind)) text += fmt::format(" {}", name_of(call.op));
  if (call.kind != CollectiveKind::kBarrier && call.kind != CollectiveKind::kSplit) {
    text += fmt::format(" {}[{}]", name_of(call.dtype), call.count);
    if (takes_blocks(call.kind)) text += " per rank";
    if (call.kind == CollectiveKind::kAllToAllV) text += " per row";
  }
  if (call.peer >= 0) text += fmt::format(" {} rank {}", preposition(call.kind), call.peer);
  if (!call.label.str().empty()) text += fmt::format(" '{}'", call.label.str());
  return text;
}

}  // namespace megalith
