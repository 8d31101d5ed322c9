#pragma once
// defines: PeerFailure, CommOrder, SplitOptions, Communicator, make_self_communicator

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "megalith/comm/collective.h"
#include "megalith/core/tensor.h"

namespace megalith {

/// Raised in a rank whose group was aborted by another rank: the message names that rank, its reason, and the
/// operation that was cut short. Never the first cause of anything.
class PeerFailure : public Error {
 public:
  using Error::Error;
};

/// When the operations of a group run, seen from this rank's compute on a GPU. On the CPU both are the same.
enum class CommOrder : uint8_t {
  kInline,  ///< between the kernels called before and the kernels called after
  kBeside,  ///< after the kernels called before, beside those called after until wait()
};

struct SplitOptions {
  int64_t colour = 0;  ///< ranks of one colour form a group; kNoColour: no group
  int64_t key = 0;     ///< orders the ranks of the new group; equal keys keep the old order
  std::string name;    ///< for messages: "tp", "dp"
  CommOrder order = CommOrder::kInline;

  static constexpr int64_t kNoColour = -1;
};

/// A group of ranks that move tensors between them. Each rank has its own object and uses it from one thread
/// at a time; all ranks make the same calls in the same order. Tensors are contiguous; n is size().
///
/// Reductions sum in rank order, and every rank gets the same bits: f64, f32, i64 and i32 in their own type
/// (integers wrap), bf16 and f16 in f32 with one rounding at the end. kAvg divides the sum by n and needs a
/// floating type; kMax and kMin pass NaN on. Other operations take every dtype.
///
/// A tensor of the whole may hold the rank's own block of it (in place); other overlaps are errors.
///
/// On the CPU an operation is complete when it returns. A group on a GPU takes tensors of that GPU, and an
/// operation is called like a kernel: the host does not wait for it. Host values are uploaded first
/// (Exec::from_host), or go through the groups of host(). NCCL chooses the order of a sum by the size of the
/// tensor: all ranks still get the same bits, the same in every run, but not those of the CPU, and bf16 and
/// f16 sums are rounded at every step.
///
/// A group of CommOrder::kBeside works while later kernels compute. Between an operation and wait() nobody
/// may touch its tensors (of send(): see there); the group keeps their memory alive until then.
///
/// `label` says in messages what the tensor is. Errors: wrong arguments throw Error at once, calls that
/// differ between ranks throw Error naming each rank's call where the backend can see them, and PeerFailure
/// is thrown when another rank failed. After either the group is of no more use.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  const std::string& name() const { return name_; }

  /// In place, element by element over the ranks.
  void all_reduce(const Tensor& x, ReduceOp op = ReduceOp::kSum, std::string_view label = {});
  /// `out` holds n blocks of the size of `in`, in rank order.
  void all_gather(const Tensor& in, const Tensor& out, std::string_view label = {});
  /// `in` holds n blocks of the size of `out`; block r is reduced into rank r's `out`.
  void reduce_scatter(const Tensor& in, const Tensor& out, ReduceOp op = ReduceOp::kSum,
                      std::string_view label = {});
  void broadcast(const Tensor& x, int root, std::string_view label = {});
  /// n equal blocks each: block r of `in` goes to rank r, block r of `out` comes from it.
  void all_to_all(const Tensor& in, const Tensor& out, std::string_view label = {});
  /// Rows are slices of the first dimension: the first send_rows[0] rows of `in` go to rank 0 and so on; what
  /// comes from rank r lies behind what came from the ranks before it. recv_rows must be what the peers send.
  void all_to_all_v(const Tensor& in, std::span<const int64_t> send_rows, const Tensor& out,
                    std::span<const int64_t> recv_rows, std::string_view label = {});
  /// `out` holds n blocks at the root; elsewhere it is not looked at and may be undefined.
  void gather(const Tensor& in, const Tensor& out, int root, std::string_view label = {});
  /// `in` holds n blocks at the root; elsewhere it is not looked at and may be undefined.
  void scatter(const Tensor& in, const Tensor& out, int root, std::string_view label = {});

  /// Messages between two ranks arrive in the order of sending. A send waits for nobody, so that ranks may
  /// send to each other and then receive. On a GPU `x` must keep its values until the peer has them; the
  /// group keeps its memory alive.
  void send(const Tensor& x, int to, std::string_view label = {});
  void recv(const Tensor& x, int from, std::string_view label = {});
  /// Collective. Between GPUs of several processes messages go to the next and the previous rank alone, over
  /// connections that the first message makes, for which all ranks wait. After this call they go to every
  /// rank, and not all ranks need send. Elsewhere they always do.
  virtual void reach_all() {}
  /// Both at once; `to` and `from` may be this rank itself (a ring of one).
  void send_recv(const Tensor& in, int to, const Tensor& out, int from, std::string_view label = {});

  /// The host waits until all ranks have come here, and have done what they were asked before.
  void barrier(std::string_view label = {});
  /// The kernels that are called next come after every operation of this group that was called before. Not a
  /// collective; the host does not wait.
  virtual void wait() {}
  /// The same ranks in the same order, for CPU tensors: this group itself where it moves those.
  virtual Communicator& host() { return *this; }
  /// Collective. Null for kNoColour. The groups share one fate: a failure in any reaches all.
  std::unique_ptr<Communicator> split(const SplitOptions& options);
  /// Makes every operation of this group, and of all groups split from the same root, raise PeerFailure in
  /// all ranks, also where ranks wait already. The first reason is kept.
  virtual void abort(const std::string& reason) = 0;
  /// Whether any rank did that, as far as this one knows. Any thread may ask, and may call abort().
  virtual bool is_aborted() const = 0;
  /// The ranks are threads of one process.
  virtual bool is_one_process() const { return false; }
  /// A number that the ranks of this process have in this group, and no others.
  virtual int64_t process() const { return is_one_process() ? 0 : rank(); }

 protected:
  Communicator(int rank, int size, std::string name, DeviceKind device)
      : rank_(rank), size_(size), name_(std::move(name)), device_(device) {}

  virtual void run(const Collective& collective) = 0;
  virtual std::unique_ptr<Communicator> run_split(const SplitOptions& options) = 0;

 private:
  CollectiveCall make_call(CollectiveKind kind, const Tensor& block, const char* argument,
                           std::string_view label) const;
  void check_tensor(CollectiveKind kind, const Tensor& x, const char* argument) const;
  void check_whole(const CollectiveCall& call, const Tensor& whole, const char* whole_name,
                   const Tensor& block) const;
  void check_reduction(const CollectiveCall& call) const;
  void check_rank(CollectiveKind kind, int rank, const char* argument) const;

  int rank_;
  int size_;
  std::string name_;
  DeviceKind device_;
};

/// The group of one.
std::unique_ptr<Communicator> make_self_communicator();

}  // namespace megalith
