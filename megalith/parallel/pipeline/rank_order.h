#pragma once
// defines: RankOrder, RankPlace, gpipe_order, one_f_one_b_order, interleaved_order, zb_h1_order, zb_v_order,
//          dualpipe_v_order

#include <array>
#include <deque>
#include <utility>
#include <vector>

#include "megalith/parallel/pipeline/schedule.h"

namespace megalith {

/// The computations of one rank as they are written down: the microbatch is the next one of its chunk.
class RankOrder {
 public:
  /// Microbatches from `num_microbatches` on are counted and left out, so that an order made for more
  /// microbatches serves for fewer.
  explicit RankOrder(int num_microbatches) : num_microbatches_(num_microbatches) {}

  void forward(int chunk) { add(ActionKind::kForward, chunk, num_forward_[chunk]++); }
  void backward(int chunk) { add(ActionKind::kBackward, chunk, num_backward_[chunk]++); }
  /// The actions from number `begin` on become a pair, where they are a forward and a backward of different
  /// microbatches; one of them may have been left out.
  size_t size() const { return actions_.size(); }
  void pair_up(size_t begin);
  /// Leaves the weight gradients for later.
  void backward_input(int chunk);
  /// The oldest weight gradients that are left, of any chunk.
  void backward_weight();
  void backward_weight(int chunk);
  bool has_weights_left(int chunk) const;

  void add(ActionKind kind, int chunk, int microbatch);
  std::vector<Action> take() { return std::move(actions_); }

 private:
  int num_microbatches_;
  std::array<int, 2> num_forward_{};
  std::array<int, 2> num_backward_{};
  std::deque<std::pair<int, int>> weights_left_;  // (chunk, microbatch)
  std::vector<Action> actions_;
};

/// Where a rank stands: p = num_ranks, m = num_microbatches, v = num_chunks, G = group_size.
struct RankPlace {
  int rank = 0;
  int num_ranks = 1;
  int num_microbatches = 1;
  int num_chunks = 1;
  int group_size = 1;
  bool makes_pairs = false;
};

std::vector<Action> gpipe_order(const RankPlace& place);
std::vector<Action> one_f_one_b_order(const RankPlace& place);
std::vector<Action> interleaved_order(const RankPlace& place);
std::vector<Action> zb_h1_order(const RankPlace& place);
std::vector<Action> zb_v_order(const RankPlace& place);
std::vector<Action> dualpipe_v_order(const RankPlace& place);

}  // namespace megalith
