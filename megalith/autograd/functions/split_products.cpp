#include "megalith/autograd/functions/split_products.h"

#include "megalith/ops/elementwise.h"

namespace megalith {

Tensor products_of_gathered(const Tensor& x, Communicator* beside, OwnRows own_rows, Exec& exec,
                            const PieceProduct& product) {
  if (beside == nullptr) {
    product(0, x);
    return x;
  }
  const int n = beside->size(), own = beside->rank();
  const int64_t count = x.dim(0);
  const Tensor whole = exec.empty({n * count, x.dim(1)}, x.dtype());
  const auto rows_of = [&](int rank) { return whole.slice(0, rank * count, (rank + 1) * count); };
  // Beside the last product this rank's own rows go to their place.
  const int num_transfers = own_rows == OwnRows::kCopy ? n : n - 1;
  for (int step = 0; step < n; ++step) {
    const int now = (own + step) % n, next = (now + 1) % n, reader = (own + n - (step + 1) % n) % n;
    if (step < num_transfers) beside->send_recv(x, reader, rows_of(next), next, "rows for products");
    product(now * count, step == 0 ? x : rows_of(now));
    beside->wait();
  }
  return whole;
}

Tensor sum_of_scattered(const Shape& whole, DType dtype, Communicator* beside, Exec& exec,
                        const PieceProduct& product) {
  if (beside == nullptr) {
    const Tensor y = exec.empty(whole, dtype);
    product(0, y);
    return y;
  }
  const int n = beside->size(), own = beside->rank();
  MG_CHECK(whole[0] % n == 0, "{} rows cannot be shared by the {} ranks of '{}'", whole[0], n,
           beside->name());
  const int64_t count = whole[0] / n, cols = whole[1];
  const Tensor terms = exec.empty({n, count, cols}, dtype), sent = exec.empty({n - 1, count, cols}, dtype);
  const auto block = [&](const Tensor& of, int i) { return of.slice(0, i, i + 1).view({count, cols}); };
  for (int step = 1; step < n; ++step) {
    const int to = (own + step) % n, from = (own + n - step) % n;
    product(to * count, block(sent, step - 1));
    beside->send_recv(block(sent, step - 1), to, block(terms, from), from, "terms of products");
  }
  product(own * count, block(terms, own));
  beside->wait();
  const Tensor sum = exec.empty({count, cols}, dtype);
  sum_terms(terms, sum, exec);
  return sum;
}

}  // namespace megalith
