#pragma once
// defines: RowExchange, begin_exchange_rows, end_exchange_rows

#include <vector>

#include "megalith/autograd/tape.h"
#include "megalith/comm/communicator.h"

namespace megalith {

/// How many rows each rank of a group gives to each other. Buffers may be longer than their rows (all ranks
/// of another group then share one length): what lies behind is not sent, and is zero where it is received.
struct RowExchange {
  Communicator* group = nullptr;   ///< must outlive the tape
  std::vector<int64_t> send_rows;  ///< by rank; the first rows of x go to rank 0, and so on
  std::vector<int64_t> recv_rows;  ///< by rank; what comes from rank 0 stands first
  int64_t send_length = 0;         ///< of x: at least the sum of send_rows
  int64_t recv_length = 0;         ///< of the result: at least the sum of recv_rows

  /// The way back.
  RowExchange reversed() const { return {group, recv_rows, send_rows, recv_length, send_length}; }
};

/// x [send_length, H] -> [recv_length, H]; the backward is the exchange in reverse. Nobody may touch the rows
/// between the two calls: with a group of CommOrder::kBeside they travel while the functions called in
/// between compute, and their gradients while those of these functions do.
Var begin_exchange_rows(Tape& tape, const Var& x, const RowExchange& exchange);
Var end_exchange_rows(Tape& tape, const Var& begun, const RowExchange& exchange);

}  // namespace megalith
