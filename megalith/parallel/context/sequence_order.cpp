#include "megalith/parallel/context/sequence_order.h"

#include "megalith/ops/embedding.h"

namespace megalith {
namespace {

// out[t] = x[rows[t]]: what the lookup of an embedding does.
Tensor take_rows(const Tensor& x, const Tensor& rows, const Shape& shape, Exec& exec) {
  const Tensor out = exec.empty(shape, x.dtype());
  const int64_t count = rows.dim(0), width = x.numel() / count;
  embedding({.ids = rows,
             .table = x.view({count, width}),
             .positions = {},
             .positions_table = {},
             .out = out.view({count, width})},
            exec);
  return out;
}

Shape with_dims(const Tensor& like, std::initializer_list<int64_t> first, int skip) {
  std::vector<int64_t> dims(first);
  for (int i = skip; i < like.rank(); ++i) dims.push_back(like.dim(i));
  return Shape(dims);
}

}  // namespace

Tensor SequenceOrder::to_sequence(const Tensor& by_rank, Exec& exec) const {
  if (!to_sequence_rows.defined()) return zigzag.to_sequence(by_rank, exec);
  return take_rows(by_rank, to_sequence_rows, with_dims(by_rank, {by_rank.dim(1), zigzag.seq}, 3), exec);
}

Tensor SequenceOrder::to_ranks(const Tensor& sequence, Exec& exec) const {
  if (!to_rank_rows.defined()) return zigzag.to_ranks(sequence, exec);
  return take_rows(sequence, to_rank_rows,
                   with_dims(sequence, {zigzag.ranks, sequence.dim(0), zigzag.local_seq()}, 2), exec);
}

}  // namespace megalith
