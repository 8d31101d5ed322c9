#include <algorithm>

#include "megalith/parallel/pipeline/rank_order.h"

namespace megalith {
namespace {

void repeat(int count, const auto& body) {
  for (int i = 0; i < count; ++i) body();
}

}  // namespace

// Chunk 0 is on the way down, chunk 1 on the way up: the rank that gets a microbatch first also gets it last.
std::vector<Action> zb_v_order(const RankPlace& place) {
  const int after = place.num_ranks - place.rank;  // ranks from this one to the turn
  const int before = place.rank;
  const int num_microbatches = std::max(place.num_microbatches, 2 * place.num_ranks - 1);
  RankOrder order(place.num_microbatches);
  // Until the first microbatch is back from the turn.
  repeat(2 * after - 1, [&] { order.forward(0); });
  repeat(before, [&] {
    order.forward(1);
    order.forward(0);
  });
  // Its gradient begins at rank 0 and comes down the other side.
  repeat(after, [&] {
    order.forward(1);
    order.backward_input(1);
    order.backward_weight();
  });
  int num_down = 2 * place.num_ranks - 1 - place.rank;  // forwards of chunk 0 so far
  repeat(num_microbatches - place.num_ranks, [&] {
    if (num_down++ < num_microbatches) order.forward(0);
    order.backward_input(0);
    order.backward_weight();
    order.forward(1);
    order.backward_input(1);
    order.backward_weight();
  });
  // Gradients of the input come first, the weights fill the gaps.
  repeat(before, [&] {
    order.backward_input(0);
    order.backward_input(1);
  });
  repeat(after, [&] {
    order.backward_input(0);
    order.backward_weight(0);
  });
  while (order.has_weights_left(1)) order.backward_weight(1);
  while (order.has_weights_left(0)) order.backward_weight(0);
  return order.take();
}

std::vector<Action> dualpipe_v_order(const RankPlace& place) {
  const int after = place.num_ranks - place.rank - 1;  // ranks between this one and the turn
  const int through = place.rank + 1;                  // ranks above, and this one
  const int num_microbatches = std::max(place.num_microbatches, 2 * place.num_ranks);
  RankOrder order(place.num_microbatches);
  repeat(2 * after, [&] { order.forward(0); });
  repeat(through, [&] {
    order.forward(0);
    order.forward(1);
  });
  repeat(after, [&] {
    order.backward_input(1);
    order.backward_weight();
    order.forward(1);
  });
  // A forward and a backward that do not depend on one another.
  const auto forward_and_backward = [&](int forward_chunk, int backward_chunk) {
    const size_t begin = order.size();
    order.forward(forward_chunk);
    order.backward(backward_chunk);
    if (place.makes_pairs) order.pair_up(begin);
  };
  repeat(num_microbatches - 2 * place.num_ranks + through, [&] {
    forward_and_backward(0, 1);
    forward_and_backward(1, 0);
  });
  repeat(after, [&] {
    order.backward(1);
    forward_and_backward(1, 0);
  });
  // Of the 2 * through backwards here the second half leaves its weights for the gaps that come.
  for (int i = 0; i < 2 * through; ++i) {
    const int chunk = 1 - i % 2;
    if (i < through)
      order.backward(chunk);
    else
      order.backward_input(chunk);
  }
  repeat(after, [&] {
    order.backward_weight();
    order.backward_input(0);
  });
  repeat(through, [&] { order.backward_weight(); });
  return order.take();
}

}  // namespace megalith
