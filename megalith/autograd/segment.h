#pragma once
// defines: segment

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
    Tape inner(tape.exec(),
               {.is_recording = true, .recompute = {.full = false, .ops = tape.options().recompute.ops}});
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

/// Runs one piece of a model, usually a layer: `forward(Tape&, const std::vector<Var>& inputs) -> Var`. The
/// tape is cut here: a segment is the unit of full recompute, so model code contains none of it. `forward`
/// must give the same result when it runs again; what it refers to must outlive the tape.
template <class Forward>
Var segment(Tape& tape, const std::vector<Var>& inputs, Forward forward) {
  if (!tape.is_recording() || !tape.options().recompute.full) return forward(tape, inputs);
  Tape silent(tape.exec(), {.is_recording = false, .recompute = {}});
  return tape.apply<SegmentNode<Forward>>(forward(silent, inputs).data, tape, inputs, forward);
}

/// The same for a piece that carries a residual stream on: `forward(Tape&, const ResidualStream&) ->
/// ResidualStream`. With full recompute the sum is made between segments, so that one tensor is kept.
template <class Forward>
ResidualStream segment(Tape& tape, const ResidualStream& stream, Forward forward) {
  if (!tape.is_recording() || !tape.options().recompute.full) return forward(tape, stream);
  const auto between_sums = [forward](Tape& inner, const std::vector<Var>& inputs) {
    return joined(inner, forward(inner, ResidualStream{inputs[0]}));
  };
  return {segment(tape, std::vector<Var>{joined(tape, stream)}, between_sums)};
}

}  // namespace megalith
