#pragma once
// defines: PieceProduct, OwnRows, products_of_gathered, sum_of_scattered

#include <functional>

#include "megalith/comm/communicator.h"
#include "megalith/core/exec.h"

namespace megalith {

// Products of tensor-parallel ranks with rows that they share, in pieces of one rank's rows: a piece travels
// beside the product of another. `beside` is a group of CommOrder::kBeside of n ranks; null stands for one
// rank, whose product is whole.

/// Makes rows `first` and following of a product: as many as `rows` has, which are rows of its input or of
/// its result.
using PieceProduct = std::function<void(int64_t first, const Tensor& rows)>;

enum class OwnRows { kLeave, kCopy };

/// For X [n T, cols] of which each rank has x [T, cols]: calls `product` with the rows of X, this rank's
/// first, the next ones while those travel. The result is X; its own rows are there only if copied.
Tensor products_of_gathered(const Tensor& x, Communicator* beside, OwnRows own_rows, Exec& exec,
                            const PieceProduct& product);

/// The sum over the ranks of their terms of Y, of shape `whole` [n T, cols]: this rank gets its rows [T,
/// cols]. `product` writes the rows of the rank's term that it is given, those of peers first; they travel
/// while the next are made. The terms are added in rank order, in f32, and rounded once.
Tensor sum_of_scattered(const Shape& whole, DType dtype, Communicator* beside, Exec& exec,
                        const PieceProduct& product);

}  // namespace megalith
