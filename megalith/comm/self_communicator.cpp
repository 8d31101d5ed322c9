#include <cstring>

#include "megalith/comm/communicator.h"

namespace megalith {
namespace {

/// The group of one: every operation is a copy from in to out.
class SelfCommunicator final : public Communicator {
 public:
  SelfCommunicator(std::string name, std::shared_ptr<std::string> abort_reason)
      : Communicator(0, 1, std::move(name), DeviceKind::kCpu), abort_reason_(std::move(abort_reason)) {}

  void abort(const std::string& reason) override {
    if (abort_reason_->empty()) *abort_reason_ = reason.empty() ? "no reason given" : reason;
  }
  bool is_aborted() const override { return !abort_reason_->empty(); }
  bool is_one_process() const override { return true; }

 private:
  void run(const Collective& c) override {
    check_not_aborted(c.call);
    size_t bytes = c.block_bytes();
    if (c.call.kind == CollectiveKind::kAllToAllV) {
      MG_CHECK(c.send_counts[0] == c.recv_counts[0],
               "all_to_all_v: rank 0 sends itself {} rows and expects {}", c.send_counts[0],
               c.recv_counts[0]);
      bytes *= static_cast<size_t>(c.send_counts[0]);
    }
    if (bytes > 0 && c.in != c.out) std::memcpy(c.out, c.in, bytes);
  }

  std::unique_ptr<Communicator> run_split(const SplitOptions& options) override {
    check_not_aborted({.kind = CollectiveKind::kSplit});
    if (options.colour == SplitOptions::kNoColour) return nullptr;
    return std::make_unique<SelfCommunicator>(options.name, abort_reason_);
  }

  void check_not_aborted(const CollectiveCall& call) const {
    if (!abort_reason_->empty())
      throw PeerFailure(
          fmt::format("{}: the group was aborted by rank 0: {}", describe(call), *abort_reason_));
  }

  std::shared_ptr<std::string> abort_reason_;  // shared by the groups split from one root; empty: not aborted
};

}  // namespace

std::unique_ptr<Communicator> make_self_communicator() {
  return std::make_unique<SelfCommunicator>("world", std::make_shared<std::string>());
}

}  // namespace megalith
