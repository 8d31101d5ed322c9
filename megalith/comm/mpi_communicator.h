#pragma once
// defines: MpiCommunicator

#include <memory>
#include <string>
#include <vector>

#include "megalith/comm/communicator.h"
#include "megalith/comm/mpi_world.h"

namespace megalith {

/// A rank that is a process, on CPU tensors. Reductions take every rank's elements in rank order, with the
/// bits of rank threads: small ones on every rank, long ones in a slice a rank. A send is copied and never
/// waits; its data moves on while this rank is in an operation. MpiSession makes them.
class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(std::shared_ptr<MpiWorld> world, MpiGroup group, int rank)
      : Communicator(rank, static_cast<int>(group.world_ranks.size()), group.name, DeviceKind::kCpu),
        world_(std::move(world)),
        group_(std::move(group)) {}

  void abort(const std::string& reason) override { world_->abort(reason); }
  bool is_aborted() const override { return world_->hears_of_failure(); }

 private:
  void run(const Collective& collective) override;
  std::unique_ptr<Communicator> run_split(const SplitOptions& options) override;

  void run_together(const Collective& collective, const MpiOperation& operation);
  void run_message(const Collective& collective, const MpiOperation& operation);
  void barrier_of(const MpiOperation& operation);
  void broadcast_of(const Collective& collective, const MpiOperation& operation);
  void all_gather_of(const Collective& collective, const MpiOperation& operation);
  void all_to_all_of(const Collective& collective, const MpiOperation& operation);
  void all_reduce_of(const Collective& collective, const MpiOperation& operation);
  void reduce_slices(const Collective& collective, const MpiOperation& operation, int64_t slice);
  void exchange(const MpiOperation& operation, const std::vector<MpiOutgoing>& outgoing,
                const std::vector<MpiIncoming>& incoming);
  /// Room for a block of every rank.
  std::byte* blocks(size_t block_bytes);

  std::shared_ptr<MpiWorld> world_;
  MpiGroup group_;
  int64_t number_ = 0;          // operations of the whole group so far: the same on every rank
  int64_t message_number_ = 0;  // sends and receives of this rank
  std::vector<std::byte> blocks_;
};

}  // namespace megalith
