#include "megalith/autograd/wgrad_queue.h"

#include "megalith/autograd/tape.h"

namespace megalith {

WgradQueue::WgradQueue() = default;
WgradQueue::~WgradQueue() = default;
WgradQueue::WgradQueue(WgradQueue&&) noexcept = default;
WgradQueue& WgradQueue::operator=(WgradQueue&&) noexcept = default;

void WgradQueue::push(std::unique_ptr<Node> node) {
  nodes_.push_back(std::move(node));
}

void WgradQueue::drain(Exec& exec) {
  for (std::unique_ptr<Node>& node : nodes_) {
    node->backward_weight(exec);
    node.reset();
  }
  nodes_.clear();
}

}  // namespace megalith
