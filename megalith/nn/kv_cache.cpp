#include "megalith/nn/kv_cache.h"

#include "megalith/ops/append_keys.h"
#include "megalith/ops/elementwise.h"

namespace megalith {

KvCache::KvCache(const Shape& shape, Exec& exec) : shape_(shape) {
  const OwnerScope scope(exec.ledger(), "kv cache");
  for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
    for (auto* tensors : {&keys_, &values_}) {
      tensors->push_back(
          exec.empty({shape.batch, shape.max_length, shape.num_query_groups, shape.head_dim}, shape.dtype));
    }
  }
}

KvCache::Window KvCache::append(int64_t layer, const Tensor& k, const Tensor& v, Exec& exec) {
  const Tensor& keys = keys_[static_cast<size_t>(layer)];
  const Tensor& values = values_[static_cast<size_t>(layer)];
  if (device_length_.defined()) {
    append_keys({.k = k, .v = v, .place = device_length_, .keys = keys, .values = values}, exec);
    return {.k = keys, .v = values, .num_keys = device_num_keys_};
  }
  const int64_t end = length_ + k.dim(1);
  MG_CHECK(end <= shape_.max_length, "the KV cache holds {} tokens per sequence; {} are needed",
           shape_.max_length, end);
  copy(k, keys.slice(1, length_, end), exec);
  copy(v, values.slice(1, length_, end), exec);
  return {.k = keys.slice(1, 0, end), .v = values.slice(1, 0, end), .num_keys = {}};
}

void KvCache::read_lengths(Tensor length, Tensor num_keys) {
  device_length_ = std::move(length);
  device_num_keys_ = std::move(num_keys);
}

}  // namespace megalith
