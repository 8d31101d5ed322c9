#pragma once
// defines: Var, Node, Saved, RecomputePolicy, Tape

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "megalith/autograd/wgrad_queue.h"
#include "megalith/core/exec.h"

namespace megalith {

class SegmentOffload;
class Tape;

/// Place of a value in its tape's table of gradients.
using ValueId = int32_t;
inline constexpr ValueId kNoGradient = -1;

/// A tensor in a forward computation. `id` is kNoGradient where no gradient flows (inference).
struct Var {
  Tensor data;
  ValueId id = kNoGradient;
};

/// One differentiable step: a coarse, typed node with hand-written backward. It is made during the forward,
/// lists what it saves as Saved members, and is destroyed as soon as its gradients are done.
class Node {
 public:
  Node() = default;
  virtual ~Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  virtual const char* name() const = 0;

  /// A mark on the tape has no outputs: its backward_input runs whenever the backward passes it.
  virtual bool is_mark() const { return false; }
  /// The mark of Tape::give_way(): the backward may stop here.
  virtual bool gives_way() const { return false; }

  /// Takes the gradients of its outputs from the tape and adds those of its inputs; also adds small parameter
  /// gradients (norms, biases). Called only when some output has a gradient.
  virtual void backward_input(Tape& tape) = 0;

  /// A weight gradient that costs a GEMM or a pass over a table stands apart, so that a schedule can put it
  /// off: backward_input then keeps what it needs (the gradient of the output) in the node.
  virtual bool has_backward_weight() const { return false; }
  virtual void backward_weight(Exec&) {}

  /// A node that can produce its output again from what it saved lets its consumers drop that output.
  virtual bool can_recompute() const { return false; }
  virtual Tensor recompute(Exec&) { return {}; }

  /// Before the node leaves the tape for a WgradQueue: what it would recompute from other nodes is made now,
  /// while they live.
  virtual void make_self_contained(Exec&) {}

 protected:
  /// In the order in which the tape was given them.
  ValueId output(size_t index = 0) const { return outputs_[index]; }

 private:
  friend class Tape;
  std::vector<ValueId> outputs_;
};

/// A tensor that a node keeps for its backward; where the policy says so, only the way to make it again.
class Saved {
 public:
  Saved() = default;
  Saved(const Tape& tape, const Var& var);
  /// Something that is always kept.
  explicit Saved(Tensor tensor) : tensor_(std::move(tensor)) {}

  const Tensor& get(Exec& exec) {
    if (!tensor_.defined() && producer_ != nullptr) tensor_ = producer_->recompute(exec);
    return tensor_;
  }

 private:
  Tensor tensor_;
  Node* producer_ = nullptr;
};

/// What is computed again in the backward instead of being kept (Korthikanti et al. 2022).
struct RecomputePolicy {
  bool full = false;  ///< every segment keeps its inputs only
  std::vector<std::string>
      ops;  ///< node names whose outputs their consumers do not keep: "norm", "activation"

  bool covers(const char* op) const;
};

/// Records a forward computation and runs it backwards. A tape made with is_recording == false is the null
/// tape of inference: the same model code runs and nothing is kept.
class Tape {
 public:
  struct Options {
    bool is_recording = true;
    RecomputePolicy recompute = {};
    std::shared_ptr<SegmentOffload> offload = {};  ///< of this tape alone (offload.h); null: nothing leaves
    /// Called by the forward at every give_way(); empty: nothing gives way, neither forward nor backward.
    std::function<void()> at_give_way = {};
  };
  Tape(Exec& exec, Options options) : exec_(&exec), options_(std::move(options)) {}
  explicit Tape(Exec& exec) : Tape(exec, Options{}) {}

  Exec& exec() const { return *exec_; }
  bool is_recording() const { return options_.is_recording; }
  const Options& options() const { return options_; }

  /// An input whose gradient will be asked for with gradient().
  Var leaf(Tensor data) { return new_value(std::move(data), nullptr); }

  /// Ends a differentiable function of one output: makes the node from `args` when recording, and returns the
  /// output as a Var.
  template <class NodeType, class... Args>
  Var apply(Tensor output_data, Args&&... args) {
    if (!is_recording()) return {std::move(output_data)};
    return output(std::move(output_data), record<NodeType>(std::forward<Args>(args)...));
  }

  /// The same in two steps, for nodes of several outputs; call only while recording.
  template <class NodeType, class... Args>
  NodeType& record(Args&&... args) {
    auto node = std::make_unique<NodeType>(std::forward<Args>(args)...);
    NodeType& result = *node;
    nodes_.push_back(std::move(node));
    return result;
  }
  Var output(Tensor data, Node& producer) { return new_value(std::move(data), &producer); }

  /// A place between the begin and the end of a transfer, where another tape's work has time: the forward
  /// calls at_give_way() here, and advance() stops here, when the gradient's transfer has begun.
  void give_way();

  /// Gradient of `root` is `d_root`; runs every node in reverse. With a queue, weight gradients wait there
  /// for drain(); they come out in the same order and so to the same bits.
  void backward(const Var& root, Tensor d_root, WgradQueue* deferred = nullptr);

  /// The same in parts. begin_backward() runs nothing; advance() runs nodes until one gives way, and is false
  /// when all are done. In between the forward or backward of another tape may run, on the same thread.
  /// `deferred` must live until the end.
  void begin_backward(const Var& root, Tensor d_root, WgradQueue* deferred = nullptr);
  bool advance();

  /// Of a leaf, after backward(); undefined when none arrived.
  Tensor gradient(const Var& leaf) const;

  // For nodes.
  Tensor take_gradient(ValueId id);
  /// Adds to what is there; takes no notice of values without a gradient.
  void add_gradient(ValueId id, Tensor gradient);
  WgradQueue* deferred() const { return deferred_; }

 private:
  friend class Saved;
  struct Value {
    Node* producer = nullptr;
    Tensor gradient;
  };
  Var new_value(Tensor data, Node* producer);
  void run_backward(std::unique_ptr<Node> node);

  Exec* exec_;
  Options options_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Value> values_;
  WgradQueue* deferred_ = nullptr;
};

}  // namespace megalith
