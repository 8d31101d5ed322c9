#pragma once
// defines: LogitRows, CrossEntropyRows, cross_entropy, CrossEntropyStatistics, cross_entropy_statistics,
// WeightedSum, weighted_sum

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// Column j is the logit of label first_label + j; negative labels are ignored.
struct LogitRows {
  DType dtype;
  int64_t rows, columns;
  const void* logits;
  int64_t stride;
  const int32_t* labels;
  int64_t first_label = 0;
};

/// See CrossEntropyArgs. Labels have been checked to be below columns * num_shards. Sums, losses, weights and
/// statistics are of the accumulate_t of the dtype.
struct CrossEntropyRows {
  LogitRows in;
  const void* statistics = nullptr;  // [num_shards, 3, rows], or null: the columns are all
  int64_t num_shards = 1;
  const void* loss_weights = nullptr;  // or null: all 1
  double d_loss = 1;
  void* loss = nullptr;
  void* d_logits = nullptr;  // or null; may be the logits
  int64_t d_logits_stride = 0;
  int num_threads = 1;  // set by cross_entropy()
};
void cross_entropy(CrossEntropyRows rows, Exec& exec);

/// Writes [3, rows]: largest logit, sum of exp relative to it, the label's logit or 0.
struct CrossEntropyStatistics {
  LogitRows in;
  void* out = nullptr;
  int num_threads = 1;  // set by cross_entropy_statistics()
};
void cross_entropy_statistics(CrossEntropyStatistics rows, Exec& exec);

struct WeightedSum {
  DType dtype;  // f32 or f64
  int64_t count;
  const void* x;
  const void* weights;
  double* out;
};
void weighted_sum(const WeightedSum& args);

MG_DECLARE_PER_ISA(void cross_entropy(const CrossEntropyRows& rows);
                   void cross_entropy_statistics(const CrossEntropyStatistics& rows))

}  // namespace megalith::cpu
