#include "megalith/parallel/context/packed_context.h"

#include <algorithm>
#include <numeric>

namespace megalith {

PackedContext::PackedContext(std::span<const int32_t> cu_seqlens, TokenShare share)
    : document_begin_(static_cast<size_t>(share.batch * share.seq)), share_(std::move(share)) {
  for (size_t i = 0; i + 1 < cu_seqlens.size(); ++i)
    std::fill(document_begin_.begin() + cu_seqlens[i], document_begin_.begin() + cu_seqlens[i + 1],
              static_cast<int32_t>(cu_seqlens[i] % share_.seq));
}

// By the token at a place of a row.
int64_t PackedContext::first_seen(int64_t row, int32_t place, int64_t window) const {
  const int64_t begin = document_begin_[static_cast<size_t>(row * share_.seq + place)];
  return window < 0 ? begin : std::max(begin, place - window);
}

const PackedContext::Limits& PackedContext::limits(const Pair& pair) const {
  const auto known = limits_.find(pair);
  if (known != limits_.end()) return known->second;
  const auto [query_rank, key_rank, window] = pair;
  std::vector<int32_t> whole;
  if (key_rank < 0) {
    whole.resize(static_cast<size_t>(share_.seq));
    std::iota(whole.begin(), whole.end(), 0);
  }
  Limits& limits = limits_[pair];
  for (int64_t b = 0; b < share_.batch; ++b) {
    const std::span<const int32_t> keys =
        key_rank < 0 ? std::span<const int32_t>(whole) : share_.row(key_rank, b);
    for (const int32_t place : share_.row(query_rank, b)) {
      const auto first = std::lower_bound(keys.begin(), keys.end(), first_seen(b, place, window));
      const auto end = std::upper_bound(first, keys.end(), place);
      limits.first.push_back(static_cast<int32_t>(first - keys.begin()));
      limits.end.push_back(static_cast<int32_t>(end - keys.begin()));
    }
  }
  return limits;
}

bool PackedContext::meets(int query_rank, int key_rank, int64_t window) const {
  const Pair pair{query_rank, key_rank, window};
  const auto known = meets_.find(pair);
  if (known != meets_.end()) return known->second;
  const auto meets_in_row = [&](int64_t row) {
    const std::span<const int32_t> keys = share_.row(key_rank, row), queries = share_.row(query_rank, row);
    return std::any_of(queries.begin(), queries.end(), [&](int32_t place) {
      const auto first = std::lower_bound(keys.begin(), keys.end(), first_seen(row, place, window));
      return first != keys.end() && *first <= place;
    });
  };
  bool result = false;
  for (int64_t row = 0; row < share_.batch && !result; ++row) result = meets_in_row(row);
  return meets_[pair] = result;
}

VisibleKeys PackedContext::upload(const Pair& pair, Exec& exec) const {
  const auto known = uploaded_.find(pair);
  if (known != uploaded_.end()) return known->second;
  const auto [query_rank, key_rank, window] = pair;
  VisibleKeys keys;
  if (key_rank < 0 || meets(query_rank, key_rank, window)) {
    const Limits& own = limits(pair);
    const Shape shape{share_.batch, share_.local_seq()};
    keys = {exec.from_host(std::span<const int32_t>(own.first), shape),
            exec.from_host(std::span<const int32_t>(own.end), shape)};
  }
  return uploaded_[pair] = keys;
}

VisibleKeys PackedContext::keys(int query_rank, int key_rank, int64_t window, Exec& exec) const {
  return upload({query_rank, key_rank, window}, exec);
}

VisibleKeys PackedContext::whole_keys(int query_rank, int64_t window, Exec& exec) const {
  return upload({query_rank, -1, window}, exec);
}

Tensor PackedContext::first_key(Exec& exec) const {
  if (!first_key_.defined())
    first_key_ = exec.from_host(std::span<const int32_t>(document_begin_), {share_.batch, share_.seq});
  return first_key_;
}

SequenceOrder PackedContext::order(int first_rank, int count, Exec& exec) const {
  const auto known = orders_.find({first_rank, count});
  if (known != orders_.end()) return known->second;
  const int64_t local = share_.local_seq(), batch = share_.batch;
  std::vector<int32_t> to_sequence, to_ranks(static_cast<size_t>(count * batch * local));
  for (int64_t b = 0; b < batch; ++b) {
    std::vector<std::pair<int32_t, int32_t>> rows;  // place, row in rank order
    for (int member = 0; member < count; ++member) {
      auto row = static_cast<int32_t>((member * batch + b) * local);
      for (const int32_t place : share_.row(first_rank + member, b)) rows.emplace_back(place, row++);
    }
    std::sort(rows.begin(), rows.end());
    for (const auto& [place, row] : rows) {
      to_ranks[static_cast<size_t>(row)] = static_cast<int32_t>(to_sequence.size());
      to_sequence.push_back(row);
    }
  }
  const Shape shape{count * batch * local};
  return orders_[{first_rank, count}] = {
             .zigzag = {count, count * local},
             .to_sequence_rows = exec.from_host(std::span<const int32_t>(to_sequence), shape),
             .to_rank_rows = exec.from_host(std::span<const int32_t>(to_ranks), shape)};
}

std::shared_ptr<const PackedContext> PackedContext::merged(int count) const {
  std::shared_ptr<const PackedContext>& known = merged_[count];
  if (known == nullptr) known.reset(new PackedContext(*this, count));
  return known;
}

}  // namespace megalith
