#include "megalith/kernels/cpu/cross_entropy.h"

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {
namespace {

template <class T>
double sum_of_products(const WeightedSum& args) {
  double total = 0;
  for (int64_t i = 0; i < args.count; ++i) {
    total += static_cast<double>(static_cast<const T*>(args.x)[i]) *
             static_cast<double>(static_cast<const T*>(args.weights)[i]);
  }
  return total;
}

}  // namespace

void cross_entropy(CrossEntropyRows rows, Exec& exec) {
  rows.num_threads = threads_for(rows.in.rows * rows.in.columns, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), cross_entropy)(rows);
}

void cross_entropy_statistics(CrossEntropyStatistics rows, Exec& exec) {
  rows.num_threads = threads_for(rows.in.rows * rows.in.columns, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), cross_entropy_statistics)(rows);
}

void weighted_sum(const WeightedSum& args) {
  *args.out = args.dtype == DType::kF64 ? sum_of_products<double>(args) : sum_of_products<float>(args);
}

}  // namespace megalith::cpu
