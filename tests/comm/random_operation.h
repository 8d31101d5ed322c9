#pragma once
// defines: random_operation_is_right

#include <random>

#include "megalith/comm/communicator.h"

#include "tests/comm/rank_tensors.h"

namespace megalith {

/// One random operation in `comm`, whose members draw the same numbers; false when its result is wrong.
inline bool random_operation_is_right(Communicator& comm, RankTensors& tensors, std::mt19937& shared) {
  const int64_t lengths[] = {0, 1, 17, 1000, 1024, 1030, 4099, 20000};
  const int64_t n = lengths[shared() % 8];
  const int root = static_cast<int>(shared() % static_cast<unsigned>(comm.size()));
  const int64_t salt = shared() % 100;
  const int64_t first = comm.rank() * n;
  const Tensor block = tensors.values<float>(comm.rank(), n, 0, salt);
  const Tensor whole = tensors.values<float>(comm.rank(), n * comm.size(), 0, salt);
  const auto sum_at = [&](int64_t i) {
    int64_t sum = 0;
    for (int r = 0; r < comm.size(); ++r) sum += value_of(r, i, salt);
    return static_cast<float>(sum);
  };
  bool is_right = true;
  switch (shared() % 7) {
    case 0:
      comm.all_reduce(block);
      for (int64_t i = 0; i < n; ++i) is_right &= block.data<float>()[i] == sum_at(i);
      break;
    case 1:
      comm.reduce_scatter(whole, block);
      for (int64_t i = 0; i < n; ++i) is_right &= block.data<float>()[i] == sum_at(first + i);
      break;
    case 2:
      comm.all_gather(block, whole);
      for (int64_t i = 0; i < n * comm.size(); ++i)
        is_right &=
            whole.data<float>()[i] == static_cast<float>(value_of(static_cast<int>(i / n), i % n, salt));
      break;
    case 3:
      comm.broadcast(block, root);
      for (int64_t i = 0; i < n; ++i)
        is_right &= block.data<float>()[i] == static_cast<float>(value_of(root, i, salt));
      break;
    case 4:
      comm.scatter(whole, block, root);
      for (int64_t i = 0; i < n; ++i)
        is_right &= block.data<float>()[i] == static_cast<float>(value_of(root, first + i, salt));
      break;
    case 5: {
      const int to = (comm.rank() + 1) % comm.size();
      const int from = (comm.rank() + comm.size() - 1) % comm.size();
      const Tensor out = tensors.filled<float>(n, 99);
      comm.send_recv(block, to, out, from);
      for (int64_t i = 0; i < n; ++i)
        is_right &= out.data<float>()[i] == static_cast<float>(value_of(from, i, salt));
      break;
    }
    default:
      comm.barrier();
  }
  return is_right;
}

}  // namespace megalith
