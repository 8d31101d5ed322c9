#include "megalith/core/tensor.h"

#include <utility>

#include "megalith/core/cuda/cuda_context.h"
#include "megalith/core/has_cuda.h"

namespace megalith {

Tensor::Tensor(std::shared_ptr<Storage> storage, DType dtype, Shape shape)
    : storage_(std::move(storage)), shape_(shape), dtype_(dtype) {
  int64_t stride = 1;
  for (int i = shape_.rank() - 1; i >= 0; --i) {
    strides_[static_cast<size_t>(i)] = stride;
    stride *= shape_[i];
  }
}

int64_t Tensor::stride(int i) const {
  const int index = i < 0 ? i + rank() : i;
  MG_ASSERT(index >= 0 && index < rank());
  return strides_[static_cast<size_t>(index)];
}

bool Tensor::is_contiguous() const {
  int64_t expected = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (dim(i) != 1 && stride(i) != expected) return false;
    expected *= dim(i);
  }
  return true;
}

bool Tensor::is_rows() const {
  if (rank() == 0) return false;
  if (dim(-1) != 1 && stride(-1) != 1) return false;
  int64_t expected = -1;
  for (int i = rank() - 2; i >= 0; --i) {
    if (dim(i) == 1) continue;
    if (expected >= 0 && stride(i) != expected) return false;
    expected = stride(i) * dim(i);
  }
  return true;
}

int64_t Tensor::row_stride() const {
  for (int i = rank() - 2; i >= 0; --i) {
    if (dim(i) != 1) return stride(i);
  }
  return dim(-1);
}

Tensor Tensor::view(Shape shape) const {
  MG_CHECK(is_contiguous(), "view: a tensor of shape {} is not contiguous", shape_.str());
  int64_t known = 1;
  int unknown = -1;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == -1) {
      unknown = i;
    } else {
      known *= shape[i];
    }
  }
  if (unknown >= 0) shape.set(unknown, known == 0 ? 0 : numel() / known);
  MG_CHECK(shape.numel() == numel(), "view: shape {} has {} elements, not {}", shape.str(), shape.numel(),
           numel());
  Tensor result(storage_, dtype_, shape);
  result.offset_bytes_ = offset_bytes_;
  return result;
}

Tensor Tensor::slice(int dim_index, int64_t begin, int64_t end) const {
  const int d = dim_index < 0 ? dim_index + rank() : dim_index;
  MG_CHECK(0 <= begin && begin <= end && end <= dim(d), "slice: [{}, {}) of dimension {} of {}", begin, end,
           d, shape_.str());
  Tensor result = *this;
  result.shape_.set(d, end - begin);
  result.offset_bytes_ += begin * stride(d) * static_cast<int64_t>(size_of(dtype_));
  return result;
}

Tensor Tensor::transpose(int dim_a, int dim_b) const {
  const int a = dim_a < 0 ? dim_a + rank() : dim_a;
  const int b = dim_b < 0 ? dim_b + rank() : dim_b;
  Tensor result = *this;
  result.shape_.set(a, dim(b));
  result.shape_.set(b, dim(a));
  std::swap(result.strides_[static_cast<size_t>(a)], result.strides_[static_cast<size_t>(b)]);
  return result;
}

Tensor Tensor::as_rows() const {
  MG_CHECK(is_rows(), "a tensor of shape {} does not fold into rows", shape_.str());
  Tensor result = *this;
  result.shape_ = Shape{rows(), dim(-1)};
  result.strides_ = {row_stride(), 1};
  return result;
}

namespace {

template <class From, class To>
void append(const Tensor& tensor, int dim, const From* place, std::vector<To>& values) {
  if (dim == tensor.rank()) {
    if constexpr (std::is_arithmetic_v<From>) {
      values.push_back(static_cast<To>(*place));
    } else {
      values.push_back(static_cast<To>(static_cast<float>(*place)));
    }
    return;
  }
  for (int64_t i = 0; i < tensor.dim(dim); ++i)
    append(tensor, dim + 1, place + i * tensor.stride(dim), values);
}

// Elements from the first to the last that the window touches.
int64_t extent(const Tensor& tensor) {
  int64_t last = 0;
  for (int i = 0; i < tensor.rank(); ++i) {
    if (tensor.dim(i) == 0) return 0;
    last += (tensor.dim(i) - 1) * tensor.stride(i);
  }
  return last + 1;
}

// The first element on the host: the tensor's own place, or a copy of all that the window spans.
const std::byte* place_on_host(const Tensor& tensor, std::vector<std::byte>& staging) {
  if (tensor.device().is_cpu()) return tensor.raw();
  staging.resize(static_cast<size_t>(extent(tensor)) * size_of(tensor.dtype()));
  if constexpr (kHasCuda) {
    if (!staging.empty()) {
      cuda_copy_to_host(tensor.device().index, staging.data(), tensor.raw(),
                        static_cast<int64_t>(staging.size()));
    }
  }
  return staging.data();
}

}  // namespace

template <class To>
std::vector<To> to_vector(const Tensor& tensor) {
  std::vector<To> values;
  values.reserve(static_cast<size_t>(tensor.numel()));
  std::vector<std::byte> staging;
  dispatch_dtype<double, float, bf16, f16, int64_t, int32_t, uint8_t>(
      tensor.dtype(), "to_vector", [&]<class From>() {
        append(tensor, 0, reinterpret_cast<const From*>(place_on_host(tensor, staging)), values);
      });
  return values;
}

std::span<const std::byte> bytes_on_host(const Tensor& tensor, std::vector<std::byte>& staging) {
  MG_CHECK(tensor.defined() && tensor.is_contiguous(),
           "only the elements of a contiguous tensor lie in a row on the host");
  return {place_on_host(tensor, staging), static_cast<size_t>(tensor.nbytes())};
}

template std::vector<double> to_vector(const Tensor&);
template std::vector<float> to_vector(const Tensor&);
template std::vector<int64_t> to_vector(const Tensor&);
template std::vector<int32_t> to_vector(const Tensor&);

}  // namespace megalith
