#pragma once
// defines: WgradQueue

#include <memory>
#include <vector>

#include "megalith/core/exec.h"

namespace megalith {

class Node;

/// Weight gradients put off by Tape::backward, first in, first out: the W of zero-bubble schedules (Qi et al.
/// 2023).
class WgradQueue {
 public:
  WgradQueue();
  ~WgradQueue();
  WgradQueue(WgradQueue&&) noexcept;
  WgradQueue& operator=(WgradQueue&&) noexcept;

  void push(std::unique_ptr<Node> node);
  size_t size() const { return nodes_.size(); }
  /// Runs and frees everything that waits.
  void drain(Exec& exec);

 private:
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace megalith
