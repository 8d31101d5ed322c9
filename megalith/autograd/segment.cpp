#include "megalith/autograd/segment.h"

#include "megalith/autograd/offload.h"

namespace megalith {
namespace {

// Recorded behind the nodes of a segment: the backward meets it first.
class SegmentEndNode : public Node {
 public:
  SegmentEndNode(std::shared_ptr<SegmentOffload> offload, int64_t segment)
      : offload_(std::move(offload)), segment_(segment) {}
  const char* name() const override { return "segment_end"; }
  bool is_mark() const override { return true; }
  void backward_input(Tape&) override { offload_->before_backward(segment_); }

 private:
  std::shared_ptr<SegmentOffload> offload_;
  int64_t segment_;
};

std::vector<Tensor> tensors_of(const std::vector<Var>& vars) {
  std::vector<Tensor> tensors;
  for (const Var& var : vars) tensors.push_back(var.data);
  return tensors;
}

SegmentOffload* offload_of(const Tape& tape) {
  return tape.is_recording() ? tape.options().offload.get() : nullptr;
}

}  // namespace

void begin_segment(Tape& tape, const std::vector<Var>& inputs) {
  if (SegmentOffload* offload = offload_of(tape)) offload->begin_segment(tensors_of(inputs));
}

void end_segment(Tape& tape, const std::vector<Var>& outputs) {
  if (SegmentOffload* offload = offload_of(tape))
    tape.record<SegmentEndNode>(tape.options().offload, offload->end_segment(tensors_of(outputs)));
}

}  // namespace megalith
