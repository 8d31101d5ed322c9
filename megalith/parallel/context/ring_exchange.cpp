#include "megalith/parallel/context/ring_exchange.h"

namespace megalith {

// All ranks of a step choose the same way: a send_recv of all, which is one operation of the group, or else
// single messages, which go past neighbours. A message and half of a send_recv would not meet on GPUs.
Tensor RingExchange::exchange(const Mail& mail, int step, const Tensor& like, const char* label,
                              Exec& exec) const {
  Tensor received;
  if (mail.receives) received = exec.empty(like.shape(), like.dtype());
  if (plan_->all_meet(step)) {
    group_->send_recv(mail.send, mail.to, received, mail.from, label);
    return received;
  }
  group_->reach_all();
  if (mail.send.defined()) group_->send(mail.send, mail.to, label);
  if (mail.receives) group_->recv(received, mail.from, label);
  return received;
}

Tensor RingExchange::keys_values(const Tensor& own, int step, Exec& exec) const {
  if (step == 0) return own;
  if (step >= num_steps()) return {};
  return exchange({.send = is_looked_at(step) ? own : Tensor{},
                   .to = behind(step),
                   .receives = looks(step),
                   .from = before(step)},
                  step, own, "keys and values", exec);
}

Tensor RingExchange::gradients(const Tensor& d_other, const Tensor& like, int step, Exec& exec) const {
  return exchange({.send = d_other, .to = before(step), .receives = is_looked_at(step), .from = behind(step)},
                  step, like, "d_keys and values", exec);
}

}  // namespace megalith
