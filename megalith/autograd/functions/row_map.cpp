#include "megalith/autograd/functions/row_map.h"

namespace megalith {
namespace {

Tensor permuted(const Tensor& x, const RowMap& map, Exec& exec) {
  const Tensor y = exec.empty({map.num_to(), x.dim(1)}, x.dtype());
  permute_rows(x, map, y, exec);
  return y;
}

Tensor combined(const Tensor& x, const RowMap& map, Exec& exec) {
  const Tensor y = exec.empty({map.num_from(), x.dim(1)}, x.dtype());
  combine_rows(x, map, y, exec);
  return y;
}

class PermuteRowsNode : public Node {
 public:
  PermuteRowsNode(const Tape& tape, const Var& x, RowMap map)
      : x_(tape, x), x_id_(x.id), map_(std::move(map)) {}
  const char* name() const override { return "permute_rows"; }
  void backward_input(Tape& tape) override {
    tape.add_gradient(x_id_, combined(tape.take_gradient(output()), map_, tape.exec()));
  }
  bool can_recompute() const override { return true; }
  Tensor recompute(Exec& exec) override { return permuted(x_.get(exec), map_, exec); }

 private:
  Saved x_;
  ValueId x_id_;
  RowMap map_;
};

class CombineRowsNode : public Node {
 public:
  CombineRowsNode(ValueId x_id, RowMap map) : x_id_(x_id), map_(std::move(map)) {}
  const char* name() const override { return "combine_rows"; }
  void backward_input(Tape& tape) override {
    tape.add_gradient(x_id_, permuted(tape.take_gradient(output()), map_, tape.exec()));
  }

 private:
  ValueId x_id_;
  RowMap map_;
};

}  // namespace

Var permute_rows(Tape& tape, const Var& x, const RowMap& map) {
  return tape.apply<PermuteRowsNode>(permuted(x.data, map, tape.exec()), tape, x, map);
}

Var combine_rows(Tape& tape, const Var& x, const RowMap& map) {
  return tape.apply<CombineRowsNode>(combined(x.data, map, tape.exec()), x.id, map);
}

}  // namespace megalith
