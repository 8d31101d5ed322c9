#include "megalith/autograd/functions/collectives.h"

#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

Tensor gathered(const Tensor& x, Communicator& group, Exec& exec, const char* label) {
  const Tensor y = exec.empty({x.dim(0) * group.size(), x.dim(1)}, x.dtype());
  group.all_gather(x, y, label);
  return y;
}

Tensor scattered_sum(const Tensor& x, Communicator& group, Exec& exec, const char* label) {
  MG_CHECK(x.dim(0) % group.size() == 0, "{}: {} rows cannot be shared by the {} ranks of '{}'", label,
           x.dim(0), group.size(), group.name());
  const Tensor y = exec.empty({x.dim(0) / group.size(), x.dim(1)}, x.dtype());
  group.reduce_scatter(x, y, ReduceOp::kSum, label);
  return y;
}

class CollectiveNode : public Node {
 public:
  CollectiveNode(ValueId x_id, Communicator& group) : x_id_(x_id), group_(&group) {}

 protected:
  ValueId x_id_;
  Communicator* group_;
};

class AllGatherRowsNode : public CollectiveNode {
 public:
  AllGatherRowsNode(const Tape& tape, const Var& x, Communicator& group)
      : CollectiveNode(x.id, group), x_(tape, x) {}
  const char* name() const override { return "all_gather_rows"; }
  void backward_input(Tape& tape) override {
    const Tensor d_y = tape.take_gradient(output());
    tape.add_gradient(x_id_, scattered_sum(d_y, *group_, tape.exec(), "d_all_gather_rows"));
  }
  bool can_recompute() const override { return true; }
  Tensor recompute(Exec& exec) override { return gathered(x_.get(exec), *group_, exec, "all_gather_rows"); }

 private:
  Saved x_;
};

class ReduceScatterRowsNode : public CollectiveNode {
 public:
  using CollectiveNode::CollectiveNode;
  const char* name() const override { return "reduce_scatter_rows"; }
  void backward_input(Tape& tape) override {
    const Tensor d_y = tape.take_gradient(output());
    tape.add_gradient(x_id_, gathered(d_y, *group_, tape.exec(), "d_reduce_scatter_rows"));
  }
};

class CopyToRanksNode : public CollectiveNode {
 public:
  using CollectiveNode::CollectiveNode;
  const char* name() const override { return "copy_to_ranks"; }
  void backward_input(Tape& tape) override {
    Tensor d_x = tape.take_gradient(output());
    if (!d_x.is_unique()) {
      const Tensor own = tape.exec().empty(d_x.shape(), d_x.dtype());
      copy(d_x, own, tape.exec());
      d_x = own;
    }
    group_->all_reduce(d_x, ReduceOp::kSum, "d_copy_to_ranks");
    tape.add_gradient(x_id_, d_x);
  }
};

class SumOverRanksNode : public CollectiveNode {
 public:
  using CollectiveNode::CollectiveNode;
  const char* name() const override { return "sum_over_ranks"; }
  void backward_input(Tape& tape) override { tape.add_gradient(x_id_, tape.take_gradient(output())); }
};

}  // namespace

Var all_gather_rows(Tape& tape, const Var& x, Communicator& group) {
  if (group.size() == 1) return x;
  return tape.apply<AllGatherRowsNode>(gathered(x.data, group, tape.exec(), "all_gather_rows"), tape, x,
                                       group);
}

Var reduce_scatter_rows(Tape& tape, const Var& x, Communicator& group) {
  if (group.size() == 1) return x;
  return tape.apply<ReduceScatterRowsNode>(scattered_sum(x.data, group, tape.exec(), "reduce_scatter_rows"),
                                           x.id, group);
}

Var copy_to_ranks(Tape& tape, const Var& x, Communicator& group) {
  if (group.size() == 1 || !tape.is_recording()) return x;
  return tape.apply<CopyToRanksNode>(x.data, x.id, group);
}

Var sum_over_ranks(Tape& tape, const Var& x, Communicator& group) {
  if (group.size() == 1) return x;
  group.all_reduce(x.data, ReduceOp::kSum, "sum_over_ranks");
  return tape.apply<SumOverRanksNode>(x.data, x.id, group);
}

}  // namespace megalith
