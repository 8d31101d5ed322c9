#pragma once
// defines: SocketCommunicator

#include <memory>
#include <string>
#include <vector>

#include "megalith/comm/communicator.h"
#include "megalith/comm/local_ranks.h"
#include "megalith/comm/socket_world.h"

namespace megalith {

/// A rank of a run of several processes, on CPU tensors, through a server in the process of rank 0. Every
/// rank gets what all ranks brought and takes its part; reductions have the bits of rank threads. Groups that
/// are split from it meet in memory where all their ranks are threads of one process.
class SocketCommunicator final : public Communicator {
 public:
  /// The group of all ranks; `local` is null where each is a process of its own.
  SocketCommunicator(std::shared_ptr<SocketWorld> world, std::shared_ptr<LocalRanks> local);

  void abort(const std::string& reason) override { world_->abort(reason); }
  bool is_aborted() const override { return world_->failure().has_value(); }

  int64_t process() const override { return local_ ? local_->first_rank() : world_->rank(); }

 private:
  /// `world_ranks[r]` is the world's number of rank r of this group.
  SocketCommunicator(const SocketCommunicator& parent, std::string id, std::string name, int rank,
                     std::vector<int> world_ranks);

  void run(const Collective& collective) override;
  std::unique_ptr<Communicator> run_split(const SplitOptions& options) override;

  void run_message(const Collective& collective);
  void run_together(const Collective& collective);
  std::string where(const CollectiveCall& call, int64_t number) const;
  /// What each rank brought.
  std::vector<std::string> exchange(const CollectiveCall& call, std::string own);

  std::shared_ptr<SocketWorld> world_;
  std::shared_ptr<LocalRanks> local_;
  std::string id_;
  std::vector<int> world_ranks_;
  int64_t number_ = 0;          // operations of the whole group so far: the same on every rank
  int64_t message_number_ = 0;  // receives of this rank
};

}  // namespace megalith
