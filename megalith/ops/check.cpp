#include "megalith/ops/check.h"

namespace megalith {
namespace {

void check_defined(const char* op, const char* name, const Tensor& tensor, const Exec& exec) {
  MG_CHECK(tensor.defined(), "{}: {} is not given", op, name);
  MG_CHECK(tensor.device() == exec.device(), "{}: {} is on {}, the op runs on {}", op, name,
           tensor.device().name(), exec.device().name());
}

}  // namespace

void check_tensor(const char* op, const char* name, const Tensor& tensor, DType dtype, const Shape& shape,
                  const Exec& exec) {
  check_defined(op, name, tensor, exec);
  MG_CHECK(tensor.dtype() == dtype, "{}: {} is {}, not {}", op, name, name_of(tensor.dtype()),
           name_of(dtype));
  MG_CHECK(tensor.shape() == shape, "{}: {} has shape {}, not {}", op, name, tensor.shape().str(),
           shape.str());
}

void check_gradient(const char* op, const char* name, const Tensor& gradient, DType dtype, const Shape& shape,
                    const Exec& exec) {
  check_defined(op, name, gradient, exec);
  const bool is_bf16 = dtype == DType::kBF16 && gradient.dtype() == DType::kBF16;
  check_tensor(op, name, gradient, is_bf16 ? DType::kBF16 : accumulate_dtype(dtype), shape, exec);
}

void check_rows(const char* op, const char* name, const Tensor& tensor) {
  MG_CHECK(tensor.is_rows(), "{}: {} of shape {} has no contiguous rows at a constant stride", op, name,
           tensor.shape().str());
}

void check_contiguous(const char* op, const char* name, const Tensor& tensor) {
  MG_CHECK(tensor.is_contiguous(), "{}: {} of shape {} is not contiguous", op, name, tensor.shape().str());
}

void check_float(const char* op, const char* name, const Tensor& tensor, const Exec& exec) {
  check_defined(op, name, tensor, exec);
  const DType dtype = tensor.dtype();
  MG_CHECK(dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16,
           "{}: {} has dtype {}; allowed: f64, f32, bf16, f16", op, name, name_of(dtype));
}

}  // namespace megalith
