#include "megalith/train/device_batch.h"

#include <algorithm>
#include <numeric>

#include "megalith/parallel/context/zigzag.h"

namespace megalith {
namespace {

// First key that each token may see, within its row; empty when every row is one document.
std::vector<int32_t> first_keys(const HostBatch& host) {
  const auto num_segments = static_cast<int64_t>(host.cu_seqlens.size()) - 1;
  if (num_segments <= host.batch) return {};
  std::vector<int32_t> first(host.tokens.size());
  for (size_t segment = 0; segment + 1 < host.cu_seqlens.size(); ++segment) {
    const int32_t begin = host.cu_seqlens[segment];
    const auto row_offset = static_cast<int32_t>(begin % host.seq);
    std::fill(first.begin() + begin, first.begin() + host.cu_seqlens[segment + 1], row_offset);
  }
  return first;
}

}  // namespace

DeviceBatch make_device_batch(const HostBatch& host, LossScaling scaling, int64_t num_microbatches,
                              ContextShare share, Exec& exec) {
  const OwnerScope scope(exec.ledger(), "batch");
  const Zigzag zigzag{share.size, host.seq};
  const int64_t local_seq = zigzag.local_seq();
  const int64_t tokens = host.batch * local_seq;
  const auto upload = [&]<class T>(const std::vector<T>& whole, const Shape& shape) {
    if (share.size == 1) return exec.from_host(std::span<const T>(whole), shape);
    std::vector<T> own;
    for (int64_t row = 0; row < host.batch; ++row)
      for (int64_t i = 0; i < local_seq; ++i)
        own.push_back(whole[static_cast<size_t>(row * host.seq + zigzag.position(share.rank, i))]);
    return exec.from_host(std::span<const T>(own), shape);
  };
  DeviceBatch batch;
  batch.num_tokens = std::accumulate(host.loss_mask.begin(), host.loss_mask.end(), 0.0);

  std::vector<int32_t> labels = host.labels;
  std::vector<float> weights = host.loss_mask;
  const double scale = scaling == LossScaling::kSum
                           ? 1
                           : 1 / (std::max(batch.num_tokens, 1.0) * static_cast<double>(num_microbatches));
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) labels[i] = -1;
    weights[i] = static_cast<float>(weights[i] * scale);
  }
  batch.tokens = {.ids = upload(host.tokens, {tokens}),
                  .labels = upload(labels, {tokens}),
                  .loss_weights = upload(weights, {tokens})};
  batch.context = {.batch = host.batch, .positions = upload(host.position_ids, {tokens})};
  const std::vector<int32_t> first = first_keys(host);
  if (!first.empty()) batch.context.first_key = upload(first, {host.batch, local_seq});
  return batch;
}

}  // namespace megalith
