#pragma once
// defines: dropout, fill_normal

#include "megalith/kernels/cpu/dropout.h"
#include "megalith/kernels/cpu/random_fill.h"

namespace megalith::cuda {

/// As cpu::dropout: the same Philox words, hence the same mask.
void dropout(const cpu::DropoutArgs& args, Exec& exec);

/// As cpu::fill_normal: the same words; logarithm, sine and cosine in double, rounded to f32.
void fill_normal(const cpu::FillNormalArgs& args, Exec& exec);

}  // namespace megalith::cuda
