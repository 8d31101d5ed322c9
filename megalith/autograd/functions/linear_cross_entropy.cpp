#include "megalith/autograd/functions/linear_cross_entropy.h"

#include <algorithm>

#include "megalith/autograd/functions/linear.h"
#include "megalith/ops/check.h"
#include "megalith/ops/cross_entropy.h"
#include "megalith/ops/gemm.h"

namespace megalith {
namespace {

class LinearCrossEntropyNode : public Node {
 public:
  LinearCrossEntropyNode(ValueId x_id, Tensor d_x, double d_loss)
      : x_id_(x_id), d_x_(std::move(d_x)), d_loss_(d_loss) {}
  const char* name() const override { return "linear_cross_entropy"; }

  void backward_input(Tape& tape) override {
    const Tensor d_loss = tape.take_gradient(output());
    if (d_loss.device().is_cpu()) {
      const double given = to_vector<double>(d_loss)[0];
      MG_CHECK(given == d_loss_,
               "linear_cross_entropy: the gradient of the loss is {}, the forward was told {}", given,
               d_loss_);
    }
    tape.add_gradient(x_id_, std::move(d_x_));
  }

 private:
  ValueId x_id_;
  Tensor d_x_;  // [T, H]
  double d_loss_;
};

// A chunk's losses; its logits become their gradient where there is one.
class ChunkLoss {
 public:
  ChunkLoss(const LinearCrossEntropyArgs& args, bool has_gradient, Exec& exec)
      : args_(args), has_gradient_(has_gradient), exec_(exec) {
    if (args.group != nullptr && args.group->size() > 1) group_ = args.group;
  }

  void run(const Tensor& logits, int64_t begin, int64_t end, const Tensor& loss) const {
    CrossEntropyArgs call{.logits = logits,
                          .labels = args_.labels.slice(0, begin, end),
                          .loss_weights = args_.loss_weights.slice(0, begin, end),
                          .d_loss = args_.d_loss,
                          .loss = loss,
                          .d_logits = has_gradient_ ? logits : Tensor()};
    if (group_ != nullptr) {
      call.first_label = group_->rank() * logits.dim(1);
      call.statistics = gather_statistics(call);
    }
    cross_entropy(call, exec_);
  }

 private:
  Tensor gather_statistics(const CrossEntropyArgs& call) const {
    const int64_t rows = call.logits.dim(0);
    const Tensor own = exec_.empty({3, rows}, call.loss.dtype());
    cross_entropy_statistics(
        {.logits = call.logits, .labels = call.labels, .first_label = call.first_label, .statistics = own},
        exec_);
    const Tensor all = exec_.empty({group_->size(), 3, rows}, call.loss.dtype());
    group_->all_gather(own, all, "cross-entropy statistics");
    return all;
  }

  const LinearCrossEntropyArgs& args_;
  bool has_gradient_;
  Exec& exec_;
  Communicator* group_ = nullptr;
};

}  // namespace

Var linear_cross_entropy(Tape& tape, const Var& x, Parameter& weight, const LinearCrossEntropyArgs& args) {
  Exec& exec = tape.exec();
  const DType dtype = x.data.dtype();
  const int64_t tokens = x.data.dim(0), vocabulary = weight.data.dim(0);
  const DType sum_dtype = accumulate_dtype(dtype);
  check_tensor("linear_cross_entropy", "labels", args.labels, DType::kI32, {tokens}, exec);
  check_tensor("linear_cross_entropy", "loss_weights", args.loss_weights, sum_dtype, {tokens}, exec);
  MG_CHECK(!tape.is_recording() || weight.main_grad.defined(),
           "linear_cross_entropy: the gradient of '{}' is written in the forward and is not allocated",
           weight.name());
  const int64_t step = args.chunk_rows > 0 ? args.chunk_rows : cross_entropy_chunk_rows(tokens, vocabulary);

  const Tensor losses = exec.empty({tokens}, sum_dtype);
  const Tensor buffer = exec.empty({std::min(step, tokens), vocabulary}, dtype);
  const bool needs_d_x = x.id != kNoGradient;
  const Tensor d_x = needs_d_x ? exec.empty(x.data.shape(), dtype) : Tensor();
  const ChunkLoss chunk_loss(args, tape.is_recording(), exec);
  for (int64_t begin = 0; begin < tokens; begin += step) {
    const int64_t end = std::min(begin + step, tokens);
    const Tensor chunk = x.data.slice(0, begin, end);
    const Tensor logits = buffer.slice(0, 0, end - begin);
    gemm({.a = chunk, .b = weight.data, .c = logits, .transpose_b = Transpose::kYes}, exec);
    chunk_loss.run(logits, begin, end, losses.slice(0, begin, end));
    if (!tape.is_recording()) continue;
    if (needs_d_x) gemm({.a = logits, .b = weight.data, .c = d_x.slice(0, begin, end)}, exec);
    accumulate_weight_gradient(logits, chunk, weight, exec);
  }
  const Tensor loss = exec.empty({1}, DType::kF64);
  weighted_sum(losses, args.loss_weights, loss, exec);
  return tape.apply<LinearCrossEntropyNode>(loss, x.id, d_x, args.d_loss);
}

}  // namespace megalith
