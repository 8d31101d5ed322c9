#pragma once
// defines: ReduceOp, CollectiveKind, CollectiveCall, Collective, Label, describe, is_floating

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "megalith/core/dtype.h"

namespace megalith {

class Tensor;

enum class ReduceOp : uint8_t { kSum, kMax, kMin, kAvg };

enum class CollectiveKind : uint8_t {
  kAllReduce,
  kAllGather,
  kReduceScatter,
  kBroadcast,
  kAllToAll,
  kAllToAllV,
  kGather,
  kScatter,
  kBarrier,
  kSplit,
  kSend,
  kRecv,
  kSendRecv,
};

/// A short name held by value, so that a record of it may outlive the caller; longer text is cut.
class Label {
 public:
  Label() = default;
  explicit Label(std::string_view text);
  std::string_view str() const { return {text_.data(), length_}; }
  friend bool operator==(const Label& a, const Label& b) { return a.str() == b.str(); }

 private:
  std::array<char, 31> text_{};
  uint8_t length_ = 0;
};

/// What a rank asks its group to do. The ranks of a group must make equal calls in the same order.
struct CollectiveCall {
  CollectiveKind kind = CollectiveKind::kBarrier;
  ReduceOp op = ReduceOp::kSum;
  DType dtype = DType::kU8;
  int64_t count = 0;  ///< elements of one rank's block; of one row for all_to_all_v
  int peer = -1;      ///< the root, or whom to send to or receive from
  Label label;        ///< what the tensor is, for messages

  friend bool operator==(const CollectiveCall&, const CollectiveCall&) = default;
};

/// A call with its data, as the backends get it: arguments are checked and every pointer is to contiguous
/// elements.
struct Collective {
  CollectiveCall call;
  const std::byte* in = nullptr;
  std::byte* out = nullptr;
  int from = -1;                           ///< send_recv: the rank received from; call.peer is sent to
  std::span<const int64_t> send_counts;    ///< all_to_all_v: rows for each rank
  std::span<const int64_t> recv_counts;    ///< all_to_all_v: rows from each rank
  std::array<const Tensor*, 2> tensors{};  ///< of in and out, null for none; valid during the call

  size_t block_bytes() const { return static_cast<size_t>(call.count) * size_of(call.dtype); }
};

const char* name_of(ReduceOp op);
const char* name_of(CollectiveKind kind);
bool is_floating(DType dtype);

/// "all_reduce sum f32[1024] 'grads'", "recv bf16[64] from rank 2"
std::string describe(const CollectiveCall& call);

}  // namespace megalith
