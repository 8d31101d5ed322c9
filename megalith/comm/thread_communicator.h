#pragma once
// defines: ThreadCommunicator

#include <memory>
#include <string>
#include <vector>

#include "megalith/comm/communicator.h"
#include "megalith/comm/thread_group.h"

namespace megalith {

/// A rank that is a thread of this process, on CPU tensors that its peers read in place. Sends are copied and
/// never wait. run_ranks() makes them.
class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<ThreadGroup> group, int rank)
      : Communicator(rank, group->size(), group->name(), DeviceKind::kCpu),
        group_(std::move(group)),
        inputs_(static_cast<size_t>(size())) {}

  void abort(const std::string& reason) override;
  bool is_aborted() const override { return group_->world().is_aborted(); }
  bool is_one_process() const override { return true; }

 private:
  void run(const Collective& collective) override;
  std::unique_ptr<Communicator> run_split(const SplitOptions& options) override;

  void start(const CollectiveCall& call, int64_t number);
  void finish();
  void run_together(const Collective& collective);
  void run_messages(const Collective& collective);
  void copy_blocks(const Collective& collective);
  void all_reduce_slices(const Collective& collective);
  void reduce(const CollectiveCall& call, int64_t begin, int64_t end, std::byte* out);
  const Collective& peer(int rank) { return group_->slot(rank, number_).collective; }

  std::shared_ptr<ThreadGroup> group_;
  int64_t number_ = 0;          // operations of the whole group so far: the same on every rank
  int64_t message_number_ = 0;  // sends and receives of this rank
  std::vector<const std::byte*> inputs_;
};

}  // namespace megalith
