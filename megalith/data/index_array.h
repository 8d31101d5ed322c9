#pragma once
// defines: IndexArray

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "megalith/io/npy.h"

namespace megalith {

/// An array of integers in the type that Megatron stores it in, owned or mapped from the cache; copies share
/// it. Without a shape it has one dimension.
class IndexArray {
 public:
  IndexArray() = default;
  template <class T>
  explicit IndexArray(std::vector<T> values, std::vector<int64_t> shape = {})
      : type_(npy_type_of<T>()),
        shape_(std::move(shape)),
        num_elements_(static_cast<int64_t>(values.size())) {
    if (shape_.empty()) shape_ = {num_elements_};
    auto owner = std::make_shared<std::vector<T>>(std::move(values));
    bytes_ = std::as_bytes(std::span(*owner));
    owner_ = std::move(owner);
  }
  explicit IndexArray(NpyArray array)
      : type_(array.type()), shape_(array.shape()), num_elements_(array.num_elements()) {
    auto owner = std::make_shared<NpyArray>(std::move(array));
    bytes_ = owner->bytes();
    owner_ = std::move(owner);
  }

  NpyType type() const { return type_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t num_elements() const { return num_elements_; }
  std::span<const std::byte> bytes() const { return bytes_; }

  /// Element of the flattened array.
  int64_t operator[](int64_t index) const {
    switch (type_) {
      case NpyType::kInt16:
        return load<int16_t>(index);
      case NpyType::kInt32:
        return load<int32_t>(index);
      case NpyType::kUint32:
        return load<uint32_t>(index);
      default:
        return load<int64_t>(index);
    }
  }

 private:
  template <class T>
  int64_t load(int64_t index) const {
    T value;
    std::memcpy(&value, bytes_.data() + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
    return static_cast<int64_t>(value);
  }

  NpyType type_ = NpyType::kInt64;
  std::vector<int64_t> shape_{0};
  int64_t num_elements_ = 0;
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
};

}  // namespace megalith
