#pragma once
// defines: NcclCommunicator

#include <memory>
#include <vector>

#include "megalith/comm/nccl_messages.h"
#include "megalith/comm/nccl_peer_collectives.h"
#include "megalith/comm/nccl_rank.h"

namespace megalith {

/// A rank with a GPU. make_nccl_communicator() makes the world's, split() the others.
class NcclCommunicator final : public Communicator {
 public:
  /// The group for all ranks of `host`, a group that is not the communicator's own.
  NcclCommunicator(std::shared_ptr<NcclRank> owner, Communicator& host);
  /// A part of it.
  NcclCommunicator(std::shared_ptr<NcclRank> owner, std::unique_ptr<Communicator> host,
                   std::vector<int> world_ranks, CommOrder order);
  ~NcclCommunicator() override;

  void wait() override;
  void reach_all() override;
  Communicator& host() override { return *host_; }
  void abort(const std::string& reason) override { host_->abort(reason); }
  bool is_aborted() const override { return host_->is_aborted(); }
  bool is_one_process() const override { return host_->is_one_process(); }
  const std::shared_ptr<NcclRank>& owner() const { return owner_; }

 private:
  void run(const Collective& collective) override;
  std::unique_ptr<Communicator> run_split(const SplitOptions& options) override;

  void launch(const Collective& collective, CUstream_st* stream);
  void exchange(const Collective& collective, CUstream_st* stream);
  void follow_compute(const Collective& collective);
  void mark_finished();
  void connect(const NcclOperation& operation);
  void run_message(const Collective& collective, const NcclOperation& operation);
  void run_barrier(const NcclOperation& operation);
  CUstream_st* stream() const;

  std::shared_ptr<NcclRank> owner_;
  std::unique_ptr<Communicator> own_host_;  // null for the world
  Communicator* host_;
  std::vector<int> world_ranks_;
  CommOrder order_;
  ncclComm_t comm_ = nullptr;       // null for a group of one
  CUevent_st* reached_ = nullptr;   // by compute, when an operation beside it was called
  CUevent_st* finished_ = nullptr;  // the last operation beside compute
  int64_t number_ = 0;
  std::vector<Tensor> travelling_;          // of operations beside compute, until wait()
  std::unique_ptr<PeerCollectives> peers_;  // null where NCCL does all
  bool reaches_all_ = false;
  std::unique_ptr<NcclMessages> messages_;  // null until connect()
};

}  // namespace megalith
