#include "megalith/autograd/functions/grouped_linear.h"

#include "megalith/ops/grouped_gemm.h"

namespace megalith {
namespace {

std::vector<Tensor> data_of(const std::vector<Parameter*>& weights) {
  std::vector<Tensor> tensors;
  for (const Parameter* weight : weights) tensors.push_back(weight->data);
  return tensors;
}

class GroupedLinearNode : public Node {
 public:
  GroupedLinearNode(const Tape& tape, const Var& x, std::vector<Parameter*> weights, Tensor offsets)
      : x_(tape, x), x_id_(x.id), weights_(std::move(weights)), offsets_(std::move(offsets)) {}
  const char* name() const override { return "grouped_linear"; }

  void backward_input(Tape& tape) override {
    d_y_ = tape.take_gradient(output());
    if (x_id_ == kNoGradient) return;
    const Tensor d_x = tape.exec().empty({d_y_.dim(0), weights_[0]->data.dim(1)}, d_y_.dtype());
    grouped_gemm({.x = d_y_,
                  .weights = data_of(weights_),
                  .offsets = offsets_,
                  .y = d_x,
                  .transpose_w = Transpose::kNo},
                 tape.exec());
    tape.add_gradient(x_id_, d_x);
  }

  bool has_backward_weight() const override { return true; }
  void backward_weight(Exec& exec) override {
    std::vector<Tensor> gradients;
    std::vector<double> betas;
    for (Parameter* weight : weights_) {
      betas.push_back(weight->begin_grad_write());
      gradients.push_back(weight->main_grad);
    }
    grouped_weight_gradient({.d_y = d_y_,
                             .x = x_.get(exec),
                             .offsets = offsets_,
                             .d_weights = std::move(gradients),
                             .betas = std::move(betas)},
                            exec);
  }
  void make_self_contained(Exec& exec) override { x_.get(exec); }

 private:
  Saved x_;
  ValueId x_id_;
  std::vector<Parameter*> weights_;
  Tensor offsets_;
  Tensor d_y_;
};

}  // namespace

Var grouped_linear(Tape& tape, const Var& x, const std::vector<Parameter*>& weights, const Tensor& offsets) {
  MG_CHECK(!weights.empty(), "grouped_linear: no weights");
  const Tensor y = tape.exec().empty({x.data.dim(0), weights[0]->data.dim(0)}, x.data.dtype());
  grouped_gemm({.x = x.data, .weights = data_of(weights), .offsets = offsets, .y = y}, tape.exec());
  return tape.apply<GroupedLinearNode>(y, tape, x, weights, offsets);
}

}  // namespace megalith
