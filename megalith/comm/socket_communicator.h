#pragma once
// defines: SocketCommunicator

#include <memory>
#include <string>
#include <vector>

#include "megalith/comm/communicator.h"
#include "megalith/comm/socket_world.h"

namespace megalith {

/// A rank that is a process, on CPU tensors, through a server in the process of rank 0. Every rank gets what
/// all ranks brought and takes its part; reductions have the bits of rank threads.
class SocketCommunicator final : public Communicator {
 public:
  SocketCommunicator(std::shared_ptr<SocketWorld> world, std::string id, std::string name, int rank, int size)
      : Communicator(rank, size, std::move(name), DeviceKind::kCpu),
        world_(std::move(world)),
        id_(std::move(id)) {}

  void abort(const std::string& reason) override { world_->abort(reason); }
  bool is_aborted() const override { return world_->failure().has_value(); }

 private:
  void run(const Collective& collective) override;
  std::unique_ptr<Communicator> run_split(const SplitOptions& options) override;

  void run_message(const Collective& collective);
  void run_together(const Collective& collective);
  std::string where(const CollectiveCall& call, int64_t number) const;
  /// What each rank brought.
  std::vector<std::string> exchange(const CollectiveCall& call, std::string own);

  std::shared_ptr<SocketWorld> world_;
  std::string id_;
  int64_t number_ = 0;          // operations of the whole group so far: the same on every rank
  int64_t message_number_ = 0;  // receives of this rank
};

}  // namespace megalith
