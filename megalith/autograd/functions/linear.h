#pragma once
// defines: LinearBias, linear, linear_sum, linear_term, record_linear, accumulate_weight_gradient

#include "megalith/autograd/parameter.h"
#include "megalith/autograd/tape.h"
#include "megalith/comm/communicator.h"

namespace megalith {

/// Where ranks hold terms of a sum, one of them adds the bias; all of them know its gradient, since the
/// gradient of the sum is theirs alike.
struct LinearBias {
  Parameter* parameter = nullptr;  ///< [out], or null for none
  bool is_added = true;
};

/// y = x W^T (+ b): x [T, in], weight [out, in], y [T, out].
///
/// With a group, of CommOrder::kBeside, y is the sum over its n ranks, of which each gets its rows [T / n,
/// out]; both ways the products are made in pieces that hide what travels (split_products.h).
Var linear(Tape& tape, const Var& x, Parameter& weight, LinearBias bias = {},
           Communicator* scattered_over = nullptr);

/// residual + x W^T, residual [T, out]: one pass, and not the bits of product and sum.
Var linear_sum(Tape& tape, const Var& x, Parameter& weight, const Var& residual);

/// The term of this rank alone, [T, out], for one who makes the sum: what comes on the tape is the sum, as
/// from linear() with the group.
Var linear_term(Tape& tape, const Var& x, Parameter& weight, LinearBias bias, Communicator& scattered_over);

/// Puts a product y = x W^T that has been computed on the tape.
Var record_linear(Tape& tape, const Var& x, Parameter& weight, const Tensor& y);

/// main_grad (+)= d_y^T x of a weight [out, in], with what it held rounded once. d_y and x: the weight's
/// dtype, or f32 (a router's).
void accumulate_weight_gradient(const Tensor& d_y, const Tensor& x, Parameter& weight, Exec& exec);

}  // namespace megalith
