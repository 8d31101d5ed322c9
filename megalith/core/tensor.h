#pragma once
// defines: Storage, Tensor, to_vector, bytes_on_host

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "megalith/base/error.h"
#include "megalith/core/device.h"
#include "megalith/core/dtype.h"
#include "megalith/core/memory/pool.h"
#include "megalith/core/shape.h"

namespace megalith {

/// A block of a pool; goes back when the last tensor on it is gone.
class Storage {
 public:
  Storage(Pool& pool, Device device, int64_t bytes)
      : pool_(&pool), device_(device), block_(pool.take(bytes)) {}
  ~Storage() {
    if (block_.data != nullptr) pool_->give_back(block_);
  }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const {
    MG_ASSERT(block_.data != nullptr);
    return block_.data;
  }
  Device device() const { return device_; }
  int64_t block_bytes() const { return block_.bytes; }

  /// Gives the block back early; until take_block() the tensors on it must not be read (autograd/offload.h).
  void give_back_block() { pool_->give_back(std::exchange(block_, {.bytes = block_.bytes})); }
  /// A block of the same size again, wherever it lies.
  void take_block() { block_ = pool_->take(block_.bytes); }

 private:
  Pool* pool_;
  Device device_;
  Block block_;
};

/// A typed, strided window on a storage. Copying a Tensor copies the window, never the data.
/// Default-constructed: undefined.
class Tensor {
 public:
  Tensor() = default;
  Tensor(std::shared_ptr<Storage> storage, DType dtype, Shape shape);

  bool defined() const { return storage_ != nullptr; }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_->device(); }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int i) const { return shape_[i]; }
  /// In elements.
  int64_t stride(int i) const;
  int64_t numel() const { return shape_.numel(); }
  int64_t nbytes() const { return numel() * static_cast<int64_t>(size_of(dtype_)); }
  bool is_contiguous() const;
  /// Rows of the last dimension are contiguous and all other dimensions fold into one of constant stride:
  /// what kernels take as a matrix of `rows()` rows, `row_stride()` apart.
  bool is_rows() const;
  int64_t rows() const { return shape_.rank() == 0 || dim(-1) == 0 ? 0 : numel() / dim(-1); }
  int64_t row_stride() const;
  /// True when no other tensor shares the storage: it may then be overwritten.
  bool is_unique() const { return storage_.use_count() == 1; }
  bool shares_storage(const Tensor& other) const { return storage_ == other.storage_; }
  const std::shared_ptr<Storage>& storage() const { return storage_; }

  /// Throws when T is not the dtype.
  template <class T>
  T* data() const {
    MG_CHECK(defined() && dtype_ == dtype_of<T>, "a tensor of dtype {} is read as {}",
             defined() ? name_of(dtype_) : "none", name_of(dtype_of<T>));
    return reinterpret_cast<T*>(raw());
  }
  std::byte* raw() const { return storage_->data() + offset_bytes_; }

  /// The same elements under another shape; needs a contiguous tensor, and one extent may be -1.
  Tensor view(Shape shape) const;
  /// [begin, end) of one dimension.
  Tensor slice(int dim, int64_t begin, int64_t end) const;
  Tensor transpose(int dim_a, int dim_b) const;
  /// As [rows, last dim].
  Tensor as_rows() const;

 private:
  std::shared_ptr<Storage> storage_;
  int64_t offset_bytes_ = 0;
  Shape shape_;
  std::array<int64_t, Shape::kMaxRank> strides_{};
  DType dtype_ = DType::kF32;
};

/// The values as a vector of another type, in row-major order. For a tensor of a GPU it waits for all of the
/// device's work: for results, not for use inside a step.
template <class To>
std::vector<To> to_vector(const Tensor& tensor);

/// The bytes of a contiguous tensor on the host: the tensor's own, or for a tensor of a GPU a copy in
/// `staging`, made after all of the device's work.
std::span<const std::byte> bytes_on_host(const Tensor& tensor, std::vector<std::byte>& staging);

}  // namespace megalith
