#include "megalith/comm/communicator.h"

#include <algorithm>
#include <functional>

namespace megalith {
namespace {

bool overlap(const std::byte* a, int64_t a_bytes, const std::byte* b, int64_t b_bytes) {
  const std::less<const std::byte*> before;
  return a_bytes > 0 && b_bytes > 0 && before(a, b + b_bytes) && before(b, a + a_bytes);
}

// Rows are slices of the first dimension, which may have none.
int64_t row_numel(const Tensor& x) {
  int64_t count = 1;
  for (int i = 1; i < x.rank(); ++i) count *= x.dim(i);
  return count;
}

void check_rows(std::span<const int64_t> rows, const Tensor& x, int size, const char* tensor_name,
                const char* rows_name) {
  MG_CHECK(x.rank() >= 1, "all_to_all_v: {} needs a first dimension", tensor_name);
  MG_CHECK(static_cast<int>(rows.size()) == size, "all_to_all_v: {} has {} counts for {} ranks", rows_name,
           rows.size(), size);
  int64_t sum = 0;
  for (const int64_t count : rows) {
    MG_CHECK(count >= 0 && count <= x.dim(0) - sum, "all_to_all_v: {} needs counts >= 0 that add up to {}",
             rows_name, x.dim(0));
    sum += count;
  }
  MG_CHECK(sum == x.dim(0), "all_to_all_v: {} add up to {}, {} has {} rows", rows_name, sum, tensor_name,
           x.dim(0));
}

}  // namespace

void Communicator::check_tensor(CollectiveKind kind, const Tensor& x, const char* argument) const {
  MG_CHECK(x.defined(), "{}: {} is an undefined tensor", name_of(kind), argument);
  MG_CHECK(x.device().kind == device_, "{}: {} is on {}, the group '{}' moves tensors of {}", name_of(kind),
           argument, x.device().name(), name_, device_ == DeviceKind::kCpu ? "the CPU" : "GPUs");
  MG_CHECK(x.is_contiguous(), "{}: {} of shape {} is not contiguous", name_of(kind), argument,
           x.shape().str());
}

void Communicator::check_rank(CollectiveKind kind, int rank, const char* argument) const {
  MG_CHECK(rank >= 0 && rank < size_, "{}: {} is {}, the group '{}' has ranks 0 to {}", name_of(kind),
           argument, rank, name_, size_ - 1);
}

void Communicator::check_whole(const CollectiveCall& call, const Tensor& whole, const char* whole_name,
                               const Tensor& block) const {
  check_tensor(call.kind, whole, whole_name);
  MG_CHECK(whole.dtype() == call.dtype, "{}: in and out have dtypes {} and {}", name_of(call.kind),
           name_of(whole.dtype()), name_of(call.dtype));
  MG_CHECK(whole.numel() == block.numel() * size_,
           "{}: {} has {} elements; {} ranks with blocks of {} need {}", name_of(call.kind), whole_name,
           whole.numel(), size_, block.numel(), block.numel() * size_);
  const bool in_place = block.raw() == whole.raw() + rank_ * block.nbytes();
  MG_CHECK(in_place || !overlap(whole.raw(), whole.nbytes(), block.raw(), block.nbytes()),
           "{}: in and out overlap; only block {} of {}, this rank's own, may be shared", name_of(call.kind),
           rank_, whole_name);
}

void Communicator::check_reduction(const CollectiveCall& call) const {
  MG_CHECK(call.dtype != DType::kU8 && call.dtype != DType::kF8E4M3 && call.dtype != DType::kF8E5M2,
           "{}: dtype {} cannot be reduced; allowed: f64, f32, bf16, f16, i64, i32", name_of(call.kind),
           name_of(call.dtype));
  MG_CHECK(call.op != ReduceOp::kAvg || is_floating(call.dtype),
           "{}: avg needs a floating dtype, not {}; sum and divide instead", name_of(call.kind),
           name_of(call.dtype));
}

CollectiveCall Communicator::make_call(CollectiveKind kind, const Tensor& block, const char* argument,
                                       std::string_view label) const {
  check_tensor(kind, block, argument);
  return {.kind = kind, .dtype = block.dtype(), .count = block.numel(), .label = Label(label)};
}

void Communicator::all_reduce(const Tensor& x, ReduceOp op, std::string_view label) {
  CollectiveCall call = make_call(CollectiveKind::kAllReduce, x, "x", label);
  call.op = op;
  check_reduction(call);
  run({.call = call, .in = x.raw(), .out = x.raw(), .tensors = {&x}});
}

void Communicator::all_gather(const Tensor& in, const Tensor& out, std::string_view label) {
  const CollectiveCall call = make_call(CollectiveKind::kAllGather, in, "in", label);
  check_whole(call, out, "out", in);
  run({.call = call, .in = in.raw(), .out = out.raw(), .tensors = {&in, &out}});
}

void Communicator::reduce_scatter(const Tensor& in, const Tensor& out, ReduceOp op, std::string_view label) {
  CollectiveCall call = make_call(CollectiveKind::kReduceScatter, out, "out", label);
  call.op = op;
  check_reduction(call);
  check_whole(call, in, "in", out);
  run({.call = call, .in = in.raw(), .out = out.raw(), .tensors = {&in, &out}});
}

void Communicator::broadcast(const Tensor& x, int root, std::string_view label) {
  CollectiveCall call = make_call(CollectiveKind::kBroadcast, x, "x", label);
  check_rank(call.kind, root, "root");
  call.peer = root;
  run({.call = call, .in = x.raw(), .out = x.raw(), .tensors = {&x}});
}

void Communicator::all_to_all(const Tensor& in, const Tensor& out, std::string_view label) {
  CollectiveCall call = make_call(CollectiveKind::kAllToAll, in, "in", label);
  check_tensor(call.kind, out, "out");
  MG_CHECK(in.dtype() == out.dtype() && in.numel() == out.numel(),
           "all_to_all: in is {}[{}] and out {}[{}]; they must be alike", name_of(in.dtype()), in.numel(),
           name_of(out.dtype()), out.numel());
  MG_CHECK(in.numel() % size_ == 0, "all_to_all: {} elements do not divide into {} equal blocks", in.numel(),
           size_);
  MG_CHECK(!overlap(in.raw(), in.nbytes(), out.raw(), out.nbytes()), "all_to_all: in and out overlap");
  call.count = in.numel() / size_;
  run({.call = call, .in = in.raw(), .out = out.raw(), .tensors = {&in, &out}});
}

void Communicator::all_to_all_v(const Tensor& in, std::span<const int64_t> send_rows, const Tensor& out,
                                std::span<const int64_t> recv_rows, std::string_view label) {
  CollectiveCall call = make_call(CollectiveKind::kAllToAllV, in, "in", label);
  check_tensor(call.kind, out, "out");
  check_rows(send_rows, in, size_, "in", "send_rows");
  check_rows(recv_rows, out, size_, "out", "recv_rows");
  MG_CHECK(in.dtype() == out.dtype() && row_numel(in) == row_numel(out),
           "all_to_all_v: rows of in are {}[{}] and of out {}[{}]; they must be alike", name_of(in.dtype()),
           row_numel(in), name_of(out.dtype()), row_numel(out));
  MG_CHECK(!overlap(in.raw(), in.nbytes(), out.raw(), out.nbytes()), "all_to_all_v: in and out overlap");
  call.count = row_numel(in);
  run({.call = call,
       .in = in.raw(),
       .out = out.raw(),
       .send_counts = send_rows,
       .recv_counts = recv_rows,
       .tensors = {&in, &out}});
}

void Communicator::gather(const Tensor& in, const Tensor& out, int root, std::string_view label) {
  CollectiveCall call = make_call(CollectiveKind::kGather, in, "in", label);
  check_rank(call.kind, root, "root");
  call.peer = root;
  if (rank_ == root) check_whole(call, out, "out", in);
  run({.call = call,
       .in = in.raw(),
       .out = rank_ == root ? out.raw() : nullptr,
       .tensors = {&in, rank_ == root ? &out : nullptr}});
}

void Communicator::scatter(const Tensor& in, const Tensor& out, int root, std::string_view label) {
  CollectiveCall call = make_call(CollectiveKind::kScatter, out, "out", label);
  check_rank(call.kind, root, "root");
  call.peer = root;
  if (rank_ == root) check_whole(call, in, "in", out);
  run({.call = call,
       .in = rank_ == root ? in.raw() : nullptr,
       .out = out.raw(),
       .tensors = {rank_ == root ? &in : nullptr, &out}});
}

void Communicator::send(const Tensor& x, int to, std::string_view label) {
  CollectiveCall call = make_call(CollectiveKind::kSend, x, "x", label);
  check_rank(call.kind, to, "to");
  MG_CHECK(to != rank_, "send: rank {} cannot send to itself", rank_);
  call.peer = to;
  run({.call = call, .in = x.raw(), .tensors = {&x}});
}

void Communicator::recv(const Tensor& x, int from, std::string_view label) {
  CollectiveCall call = make_call(CollectiveKind::kRecv, x, "x", label);
  check_rank(call.kind, from, "from");
  MG_CHECK(from != rank_, "recv: rank {} cannot receive from itself", rank_);
  call.peer = from;
  run({.call = call, .out = x.raw(), .from = from, .tensors = {nullptr, &x}});
}

void Communicator::send_recv(const Tensor& in, int to, const Tensor& out, int from, std::string_view label) {
  CollectiveCall call = make_call(CollectiveKind::kSendRecv, in, "in", label);
  check_tensor(call.kind, out, "out");
  check_rank(call.kind, to, "to");
  check_rank(call.kind, from, "from");
  MG_CHECK(in.dtype() == out.dtype() && in.numel() == out.numel(),
           "send_recv: in is {}[{}] and out {}[{}]; they must be alike", name_of(in.dtype()), in.numel(),
           name_of(out.dtype()), out.numel());
  MG_CHECK((to == rank_) == (from == rank_), "send_recv: only a ring of one sends to itself (to {}, from {})",
           to, from);
  MG_CHECK(!overlap(in.raw(), in.nbytes(), out.raw(), out.nbytes()), "send_recv: in and out overlap");
  call.peer = to;
  run({.call = call, .in = in.raw(), .out = out.raw(), .from = from, .tensors = {&in, &out}});
}

void Communicator::barrier(std::string_view label) {
  run({.call = {.kind = CollectiveKind::kBarrier, .label = Label(label)}});
}

std::unique_ptr<Communicator> Communicator::split(const SplitOptions& options) {
  MG_CHECK(options.colour >= SplitOptions::kNoColour, "split: colour is {}; allowed: 0 and up, or kNoColour",
           options.colour);
  return run_split(options);
}

}  // namespace megalith
