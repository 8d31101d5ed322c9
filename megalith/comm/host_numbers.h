#pragma once
// defines: HostNumbers

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "megalith/comm/communicator.h"
#include "megalith/comm/packed_words.h"

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
  /// Collective: the values of `root`.
  std::vector<int64_t> broadcast(Communicator& host, std::span<const int64_t> own, int root,
                                 std::string_view label) {
    const auto count = static_cast<int64_t>(own.size());
    const Tensor length = make({&count, 1});
    host.broadcast(length, root, label);
    const Tensor values = host.rank() == root ? make(own) : make(length.data<int64_t>()[0]);
    host.broadcast(values, root, label);
    return to_vector<int64_t>(values);
  }
  /// Collective: the text of `root`.
  std::string broadcast(Communicator& host, std::string_view own, int root, std::string_view label) {
    WordPacker packer;
    packer.put(static_cast<int64_t>(own.size()));
    packer.put(own.data(), static_cast<int64_t>(own.size()));
    const std::vector<int64_t> words = broadcast(host, std::span(packer.words()), root, label);
    WordUnpacker unpacker(words);
    const int64_t bytes = unpacker.number();
    return unpacker.text(bytes);
  }

 private:
  MemoryLedger ledger_{0};
  Pool pool_{Device{}, ledger_};
};

}  // namespace megalith
