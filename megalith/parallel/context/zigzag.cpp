#include "megalith/parallel/context/zigzag.h"

#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

// visit(chunk on its rank, the same chunk in the sequence), each [1, B, 1, C, W].
template <class Visit>
void visit_chunks(const Zigzag& zigzag, const Tensor& by_rank, const Tensor& sequence, const Visit& visit) {
  const int64_t batch = sequence.dim(0), chunk = zigzag.chunk();
  const Tensor ranks = by_rank.view({zigzag.ranks, batch, 2, chunk, -1});
  const Tensor chunks = sequence.view({1, batch, 2 * zigzag.ranks, chunk, -1});
  for (int rank = 0; rank < zigzag.ranks; ++rank) {
    for (int half = 0; half < 2; ++half) {
      const int place = zigzag.chunk_of(rank, half);
      visit(ranks.slice(0, rank, rank + 1).slice(2, half, half + 1), chunks.slice(2, place, place + 1));
    }
  }
}

Shape with_dims(const Tensor& like, std::initializer_list<int64_t> first, int skip) {
  std::vector<int64_t> dims(first);
  for (int i = skip; i < like.rank(); ++i) dims.push_back(like.dim(i));
  return Shape(dims);
}

}  // namespace

Tensor Zigzag::to_sequence(const Tensor& by_rank, Exec& exec) const {
  const Tensor sequence = exec.empty(with_dims(by_rank, {by_rank.dim(1), seq}, 3), by_rank.dtype());
  visit_chunks(*this, by_rank, sequence,
               [&](const Tensor& on_rank, const Tensor& in_sequence) { copy(on_rank, in_sequence, exec); });
  return sequence;
}

Tensor Zigzag::to_ranks(const Tensor& sequence, Exec& exec) const {
  const Tensor by_rank =
      exec.empty(with_dims(sequence, {ranks, sequence.dim(0), local_seq()}, 2), sequence.dtype());
  visit_chunks(*this, by_rank, sequence,
               [&](const Tensor& on_rank, const Tensor& in_sequence) { copy(in_sequence, on_rank, exec); });
  return by_rank;
}

}  // namespace megalith
