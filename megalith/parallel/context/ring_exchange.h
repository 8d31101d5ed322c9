#pragma once
// defines: RingExchange

#include "megalith/comm/communicator.h"
#include "megalith/core/exec.h"
#include "megalith/parallel/context/ring_plan.h"

namespace megalith {

/// What the ranks of a ring send each other: in step j a rank looks at the keys and values of the rank j
/// places before it, and the rank j places behind looks at this one's. Only what is seen is sent. With a
/// group of CommOrder::kBeside it arrives while the kernels compute that are called next, and is there after
/// wait(). What was sent must not change any more.
class RingExchange {
 public:
  RingExchange(Communicator& group, const RingPlan& plan) : group_(&group), plan_(&plan) {}

  int num_steps() const { return group_->size(); }
  int before(int step) const { return (group_->rank() + group_->size() - step) % group_->size(); }
  int behind(int step) const { return (group_->rank() + step) % group_->size(); }

  /// The keys and values of a step, like `own`; undefined where this rank looks at none, and after the last
  /// step.
  Tensor keys_values(const Tensor& own, int step, Exec& exec) const;
  /// The gradients of a step's keys and values (undefined: it looked at none) go home. Returns those of this
  /// rank's own, like `like`; undefined where nobody looked at them.
  Tensor gradients(const Tensor& d_other, const Tensor& like, int step, Exec& exec) const;
  /// For all that was asked for.
  void wait() const { group_->wait(); }

 private:
  struct Mail {
    Tensor send;  // undefined: nothing goes
    int to;
    bool receives;
    int from;
  };
  Tensor exchange(const Mail& mail, int step, const Tensor& like, const char* label, Exec& exec) const;
  bool looks(int step) const { return plan_->meets(group_->rank(), before(step)); }
  bool is_looked_at(int step) const { return plan_->meets(behind(step), group_->rank()); }

  Communicator* group_;
  const RingPlan* plan_;
};

}  // namespace megalith
