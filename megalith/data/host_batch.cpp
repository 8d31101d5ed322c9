#include "megalith/data/host_batch.h"

#include <algorithm>

#include "megalith/base/error.h"
#include "megalith/base/math.h"
#include "megalith/data/sample_dataset.h"

namespace megalith {

void resize_batch(HostBatch& batch, int64_t batch_size, int64_t seq_length) {
  const auto count = static_cast<size_t>(batch_size * seq_length);
  batch.batch = batch_size;
  batch.seq = seq_length;
  batch.tokens.resize(count);
  batch.labels.resize(count);
  batch.position_ids.resize(count);
  batch.loss_mask.resize(count);
  batch.cu_seqlens.clear();
}

void fill_row(HostBatch& batch, int64_t row, std::span<const int32_t> text, const MaskOptions& options) {
  const auto seq = static_cast<size_t>(batch.seq);
  MG_ASSERT(text.size() == seq || text.size() == seq + 1);
  const size_t begin = static_cast<size_t>(row) * seq;
  const std::span tokens = std::span(batch.tokens).subspan(begin, seq);
  const std::span labels = std::span(batch.labels).subspan(begin, seq);
  const std::span positions = std::span(batch.position_ids).subspan(begin, seq);
  const std::span loss_mask = std::span(batch.loss_mask).subspan(begin, seq);

  std::copy_n(text.begin(), seq, tokens.begin());
  std::copy(text.begin() + 1, text.end(), labels.begin());
  if (text.size() == seq) labels.back() = kNoToken;

  batch.cu_seqlens.push_back(narrow<int32_t>(begin));
  int32_t position = 0;
  for (size_t i = 0; i < seq; ++i) {
    const bool is_eod = options.eod >= 0 && tokens[i] == options.eod;
    positions[i] = position++;
    loss_mask[i] = labels[i] == kNoToken || (is_eod && options.eod_mask_loss) ? 0.0f : 1.0f;
    if (is_eod && options.reset_position_ids) position = 0;
    if (is_eod && options.reset_attention_mask && i + 1 < seq) {
      batch.cu_seqlens.push_back(narrow<int32_t>(begin + i + 1));
    }
  }
  std::replace(tokens.begin(), tokens.end(), kNoToken, 0);
  std::replace(labels.begin(), labels.end(), kNoToken, 0);
}

void finish_batch(HostBatch& batch) {
  batch.cu_seqlens.push_back(narrow<int32_t>(batch.batch * batch.seq));
}

}  // namespace megalith
