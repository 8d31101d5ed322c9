#include "megalith/autograd/functions/add.h"

#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

class AddNode : public Node {
 public:
  AddNode(ValueId a_id, ValueId b_id) : a_id_(a_id), b_id_(b_id) {}
  const char* name() const override { return "add"; }

  void backward_input(Tape& tape) override {
    const Tensor d_sum = tape.take_gradient(output());
    tape.add_gradient(a_id_, d_sum);
    tape.add_gradient(b_id_, d_sum);
  }

 private:
  ValueId a_id_, b_id_;
};

}  // namespace

Var add(Tape& tape, const Var& a, const Var& b) {
  const Tensor sum = tape.exec().empty(a.data.shape(), a.data.dtype());
  megalith::add(a.data, b.data, sum, tape.exec());
  return tape.apply<AddNode>(sum, a.id, b.id);
}

}  // namespace megalith
