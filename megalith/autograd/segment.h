#pragma once
// defines: segment, begin_segment, end_segment

#include <utility>
#include <vector>

#include "megalith/autograd/residual_stream.h"

namespace megalith {

/// Keeps a segment's inputs and runs its forward again in the backward, on a tape of its own.
template <class Forward>
class SegmentNode : public Node {
 public:
  SegmentNode(const Tape& tape, const std::vector<Var>& inputs, Forward forward)
      : forward_(std::move(forward)) {
    for (const Var& input : inputs) {
      ids_.push_back(input.id);
      inputs_.emplace_back(tape, input);
    }
  }
  const char* name() const override { return "segment"; }

  void backward_input(Tape& tape) override {
    Tape inner(tape.exec(), {.recompute = {.full = false, .ops = tape.options().recompute.ops}});
    std::vector<Var> leaves;
    for (Saved& input : inputs_) leaves.push_back(inner.leaf(input.get(tape.exec())));
    inputs_.clear();
    const Var result = forward_(inner, leaves);
    inner.backward(result, tape.take_gradient(output()), tape.deferred());
    for (size_t i = 0; i < leaves.size(); ++i) tape.add_gradient(ids_[i], inner.gradient(leaves[i]));
  }

 private:
  Forward forward_;
  std::vector<Saved> inputs_;
  std::vector<ValueId> ids_;
};

template <class Forward>
Var keep_or_recompute(Tape& tape, const std::vector<Var>& inputs, Forward forward) {
  if (!tape.is_recording() || !tape.options().recompute.full) return forward(tape, inputs);
  Tape silent(tape.exec(), {.is_recording = false});
  return tape.apply<SegmentNode<Forward>>(forward(silent, inputs).data, tape, inputs, forward);
}

/// Around the forward of a segment: where the tape offloads (offload.h), what the segment saves goes to the
/// host, and comes back when the backward meets the mark that end_segment() leaves.
void begin_segment(Tape& tape, const std::vector<Var>& inputs);
void end_segment(Tape& tape, const std::vector<Var>& outputs);

/// Runs one piece of a model, usually a layer: `forward(Tape&, const std::vector<Var>& inputs) -> Var`. The
/// tape is cut here: a segment is the unit of full recompute and of offloading, so model code contains none
/// of it. `forward` must give the same result when it runs again; what it refers to must outlive the tape.
template <class Forward>
Var segment(Tape& tape, const std::vector<Var>& inputs, Forward forward) {
  begin_segment(tape, inputs);
  const Var output = keep_or_recompute(tape, inputs, std::move(forward));
  end_segment(tape, {output});
  return output;
}

/// The same for a piece that carries a residual stream on: `forward(Tape&, const ResidualStream&) ->
/// ResidualStream`. With full recompute the sum is made between segments, so that one tensor is kept.
template <class Forward>
ResidualStream segment(Tape& tape, const ResidualStream& stream, Forward forward) {
  if (tape.is_recording() && tape.options().recompute.full) {
    const auto between_sums = [forward](Tape& inner, const std::vector<Var>& inputs) {
      return joined(inner, forward(inner, ResidualStream{inputs[0]}));
    };
    return {segment(tape, std::vector<Var>{joined(tape, stream)}, between_sums)};
  }
  begin_segment(tape, {stream.x, stream.branch});
  const ResidualStream result = forward(tape, stream);
  end_segment(tape, {result.x, result.branch});
  return result;
}

}  // namespace megalith
