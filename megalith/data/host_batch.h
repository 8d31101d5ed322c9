#pragma once
// defines: HostBatch, MaskOptions, resize_batch, fill_row, finish_batch

#include <cstdint>
#include <span>
#include <vector>

namespace megalith {

/// One micro-batch of one data-parallel rank in host memory. B = batch, S = seq, arrays row-major.
struct HostBatch {
  int64_t batch = 0;
  int64_t seq = 0;
  /// Place of the micro-batch's first sample, over all ranks, in the order of training.
  int64_t first_sample = 0;
  std::vector<int32_t> tokens;        // [B, S]
  std::vector<int32_t> labels;        // [B, S]
  std::vector<int32_t> position_ids;  // [B, S]
  std::vector<float> loss_mask;       // [B, S], 0 or 1
  /// Where the attention of the B * S tokens is cut: ascending, 0 first and B * S last. Rows are always cut
  /// apart, documents within a row when reset_attention_mask is on. (cu_seqlens of variable-length
  /// attention.)
  std::vector<int32_t> cu_seqlens;  // [segments + 1]
};

struct MaskOptions {
  int32_t eod = -1;                   ///< end of document; -1: there is none
  bool eod_mask_loss = false;         ///< no loss where the input token is eod
  bool reset_position_ids = false;    ///< positions start again at 0 after each eod
  bool reset_attention_mask = false;  ///< tokens after an eod do not see what is before
};

void resize_batch(HostBatch& batch, int64_t batch_size, int64_t seq_length);

/// Makes row `row` from a sample: S + 1 tokens (labels are the next tokens), or S (the last label is
/// missing). Megatron's rules: the loss mask is 0 where the label is kNoToken; kNoToken then becomes token 0.
/// Rows are filled in order, since each adds to cu_seqlens.
void fill_row(HostBatch& batch, int64_t row, std::span<const int32_t> text, const MaskOptions& options);

/// After the last row.
void finish_batch(HostBatch& batch);

}  // namespace megalith
