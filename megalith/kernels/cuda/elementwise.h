#pragma once
// defines: add, sum_terms, scale, copy, fill, sum_rows

#include "megalith/kernels/cpu/copy.h"
#include "megalith/kernels/cpu/elementwise.h"
#include "megalith/kernels/cpu/sum_rows.h"

namespace megalith::cuda {

// The problems are those of the CPU kernels, with pointers to the memory of the rank's GPU; num_threads and
// other fields that a CPU launcher sets are not read. All run on the stream of `exec`.

void add(const cpu::AddArgs& args, Exec& exec);
void sum_terms(const cpu::SumTermsArgs& args, Exec& exec);
void scale(const cpu::ScaleArgs& args, Exec& exec);
void copy(cpu::CopyArgs args, Exec& exec);
/// `args.from` is one element on the host, read before the call returns.
void fill(cpu::CopyArgs args, Exec& exec);
/// The rows are summed in chunks whose number depends on their count alone.
void sum_rows(const cpu::SumRowsArgs& args, Exec& exec);

}  // namespace megalith::cuda
