#pragma once
// defines: HostNumbers

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "megalith/comm/communicator.h"

namespace megalith {

/// i64 tensors on the host, for what ranks tell each other through a host group.
class HostNumbers {
 public:
  Tensor make(int64_t count) {
    return {
        std::make_shared<Storage>(pool_, Device{}, count * int64_t{sizeof(int64_t)}), DType::kI64, {count}};
  }
  Tensor make(std::span<const int64_t> values) {
    const Tensor tensor = make(static_cast<int64_t>(values.size()));
    std::copy(values.begin(), values.end(), tensor.data<int64_t>());
    return tensor;
  }
  /// Collective: the values of all ranks, in rank order.
  std::vector<int64_t> gather(Communicator& host, std::span<const int64_t> own) {
    const Tensor all = make(static_cast<int64_t>(own.size()) * host.size());
    host.all_gather(make(own), all, "numbers of ranks");
    return to_vector<int64_t>(all);
  }

 private:
  MemoryLedger ledger_{0};
  Pool pool_{Device{}, ledger_};
};

}  // namespace megalith
