#include "megalith/autograd/functions/dropout.h"

#include "megalith/ops/dropout.h"

namespace megalith {
namespace {

class DropoutNode : public Node {
 public:
  DropoutNode(ValueId x_id, double probability, RngKey rng)
      : x_id_(x_id), probability_(probability), rng_(rng) {}
  const char* name() const override { return "dropout"; }

  void backward_input(Tape& tape) override {
    const Tensor d_y = tape.take_gradient(output());
    const Tensor d_x = d_y.is_unique() ? d_y : tape.exec().empty(d_y.shape(), d_y.dtype());
    megalith::dropout({.x = d_y, .y = d_x, .probability = probability_, .rng = rng_}, tape.exec());
    tape.add_gradient(x_id_, d_x);
  }

 private:
  ValueId x_id_;
  double probability_;
  RngKey rng_;
};

}  // namespace

Var dropout(Tape& tape, const Var& x, double probability, RngKey rng) {
  if (probability == 0) return x;
  const Tensor y = tape.exec().empty(x.data.shape(), x.data.dtype());
  megalith::dropout({.x = x.data, .y = y, .probability = probability, .rng = rng}, tape.exec());
  return tape.apply<DropoutNode>(y, x.id, probability, rng);
}

}  // namespace megalith
