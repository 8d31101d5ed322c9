#include "megalith/train/device_batch.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "megalith/parallel/context/zigzag.h"

namespace megalith {
namespace {

bool has_packed_rows(const HostBatch& host) {
  return static_cast<int64_t>(host.cu_seqlens.size()) - 1 > host.batch;
}

// First key that each token may see, within its row.
std::vector<int32_t> first_keys(const HostBatch& host) {
  std::vector<int32_t> first(host.tokens.size());
  for (size_t segment = 0; segment + 1 < host.cu_seqlens.size(); ++segment) {
    const int32_t begin = host.cu_seqlens[segment];
    const auto row_offset = static_cast<int32_t>(begin % host.seq);
    std::fill(first.begin() + begin, first.begin() + host.cu_seqlens[segment + 1], row_offset);
  }
  return first;
}

// Powers of two, so that few different tables and lengths come to a kernel that prepares for each.
PackedDocuments packed_documents(const HostBatch& host, Exec& exec) {
  std::vector<int32_t> starts = host.cu_seqlens;
  int32_t longest = 1;
  for (size_t i = 0; i + 1 < starts.size(); ++i) longest = std::max(longest, starts[i + 1] - starts[i]);
  starts.resize(std::bit_ceil(starts.size() - 1) + 1, starts.back());
  const auto rounded = static_cast<int64_t>(std::bit_ceil(static_cast<uint32_t>(longest)));
  return {.starts = exec.from_host(std::span<const int32_t>(starts), {static_cast<int64_t>(starts.size())}),
          .longest = std::min(rounded, host.seq)};
}

}  // namespace

DeviceBatch make_device_batch(const HostBatch& host, LossScaling scaling, int64_t num_microbatches,
                              ContextShare share, Exec& exec, double loss_scale) {
  const OwnerScope scope(exec.ledger(), "batch");
  const Zigzag zigzag{share.size, host.seq};
  const int64_t local_seq = zigzag.local_seq();
  const int64_t tokens = host.batch * local_seq;
  std::shared_ptr<const PackedContext> packed;
  if (share.size > 1 && has_packed_rows(host))
    packed = std::make_shared<PackedContext>(
        host.cu_seqlens, share_tokens(host.cu_seqlens, {.ranks = share.size,
                                                        .batch = host.batch,
                                                        .seq = host.seq,
                                                        .max_seqlen_per_rank = share.max_seqlen_per_rank}));
  const auto place = [&](int64_t row, int64_t i) -> int64_t {
    if (packed == nullptr) return zigzag.position(share.rank, i);
    return packed->share().row(share.rank, row)[static_cast<size_t>(i)];
  };
  const auto upload = [&]<class T>(const std::vector<T>& whole, const Shape& shape) {
    if (share.size == 1) return exec.from_host(std::span<const T>(whole), shape);
    std::vector<T> own;
    for (int64_t row = 0; row < host.batch; ++row)
      for (int64_t i = 0; i < local_seq; ++i)
        own.push_back(whole[static_cast<size_t>(row * host.seq + place(row, i))]);
    return exec.from_host(std::span<const T>(own), shape);
  };
  DeviceBatch batch;
  batch.num_tokens = std::accumulate(host.loss_mask.begin(), host.loss_mask.end(), 0.0);

  std::vector<int32_t> labels = host.labels;
  std::vector<float> weights = host.loss_mask;
  const double all_terms = scaling == LossScaling::kSum
                               ? 1
                               : std::max(batch.num_tokens, 1.0) * static_cast<double>(num_microbatches);
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) labels[i] = -1;
    weights[i] = static_cast<float>(weights[i] * (1 / all_terms) * loss_scale);
  }
  batch.tokens = {.ids = upload(host.tokens, {tokens}),
                  .labels = upload(labels, {tokens}),
                  .loss_weights = upload(weights, {tokens})};
  batch.context = {.batch = host.batch, .positions = upload(host.position_ids, {tokens})};
  batch.context.packed = packed;
  if (share.size == 1 && has_packed_rows(host)) {
    batch.context.first_key = upload(first_keys(host), {host.batch, host.seq});
    batch.context.documents = packed_documents(host, exec);
  }
  return batch;
}

}  // namespace megalith
