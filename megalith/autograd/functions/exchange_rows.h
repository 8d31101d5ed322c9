#pragma once
// defines: RowExchange, begin_exchange_rows, end_exchange_rows

#include <vector>

#include "megalith/autograd/tape.h"
#include "megalith/comm/communicator.h"

namespace megalith {

/// How many rows each rank of a group gives to each other. Buffers may be longer than their rows (all ranks
/// of another group then share one length): what lies behind is not sent, and is zero where it is received.
struct RowExchange {
  Communicator* group = nullptr;           ///< must outlive the tape, like the next
  Communicator* backward_group = nullptr;  ///< of the same ranks, for the gradients; null: `group`
  std::vector<int64_t> send_rows;          ///< by rank; the first rows of x go to rank 0, and so on
  std::vector<int64_t> recv_rows;          ///< by rank; what comes from rank 0 stands first
  int64_t send_length = 0;                 ///< of x: at least the sum of send_rows
  int64_t recv_length = 0;                 ///< of the result: at least the sum of recv_rows

  /// The way back.
  RowExchange reversed() const {
    return {group, backward_group, recv_rows, send_rows, recv_length, send_length};
  }
  /// The way of the gradients.
  RowExchange of_gradients() const {
    RowExchange way = reversed();
    if (backward_group != nullptr) way.group = backward_group;
    return way;
  }
};

/// x [send_length, H] -> [recv_length, H]; the backward is the exchange in reverse. Nobody may touch the rows
/// between the two calls: with a group of CommOrder::kBeside they travel while the functions called in
/// between compute, and their gradients while those of these functions do. A group of its own for gradients
/// lets rows of one tape and gradients of another travel at once: wait() of the one does not mean the other.
Var begin_exchange_rows(Tape& tape, const Var& x, const RowExchange& exchange);
Var end_exchange_rows(Tape& tape, const Var& begun, const RowExchange& exchange);

}  // namespace megalith
