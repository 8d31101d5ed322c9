#include "megalith/core/exec.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#include "megalith/base/parallel.h"
#include "megalith/core/has_cuda.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace megalith {
namespace {

int choose_threads(int requested) {
#ifdef _OPENMP
  if (requested > 0) return requested;
  return std::getenv("OMP_NUM_THREADS") != nullptr ? omp_get_max_threads() : hardware_threads();
#else
  static_cast<void>(requested);
  return 1;
#endif
}

std::shared_ptr<CudaContext> make_cuda_context(Device device) {
  if (device.is_cpu()) return nullptr;
  if constexpr (kHasCuda) return std::make_shared<CudaContext>(device.index);
  fail("device {}: this build has no CUDA; allowed: cpu", device.name());
}

}  // namespace

Exec::Exec(const ExecOptions& options)
    : device_(options.device),
      num_threads_(choose_threads(options.num_threads)),
      rng_{options.seed, 0},
      cuda_(make_cuda_context(options.device)),
      ledger_(options.memory_limit_bytes),
      pool_(options.device, ledger_),
      scratch_(pool_) {
#ifdef _OPENMP
  omp_set_num_threads(num_threads_);  // of this thread only
#endif
}

Tensor Exec::empty(const Shape& shape, DType dtype) {
  const int64_t bytes = shape.numel() * static_cast<int64_t>(size_of(dtype));
  auto storage = std::make_shared<Storage>(pool_, device_, bytes);
  if (storage_list_ != nullptr) storage_list_->push_back(storage);
  return Tensor(std::move(storage), dtype, shape);
}

Tensor Exec::zeros(const Shape& shape, DType dtype) {
  Tensor tensor = empty(shape, dtype);
  if (tensor.nbytes() == 0) return tensor;
  if constexpr (kHasCuda) {
    if (cuda_ != nullptr) {
      cuda_->clear(tensor.raw(), tensor.nbytes());
      return tensor;
    }
  }
  std::memset(tensor.raw(), 0, static_cast<size_t>(tensor.nbytes()));
  return tensor;
}

Tensor Exec::copy_from_host(const void* values, int64_t count, const Shape& shape, DType dtype) {
  MG_CHECK(count == shape.numel(), "{} values do not fill shape {}", count, shape.str());
  Tensor tensor = empty(shape, dtype);
  upload({static_cast<const std::byte*>(values), static_cast<size_t>(tensor.nbytes())}, tensor);
  return tensor;
}

void Exec::upload(std::span<const std::byte> bytes, const Tensor& to) {
  MG_CHECK(to.device() == device_ && to.is_contiguous() && bytes.size() == static_cast<size_t>(to.nbytes()),
           "upload: {} bytes for a tensor of {} on {}, contiguous, of {}", bytes.size(), to.nbytes(),
           to.device().name(), device_.name());
  if (bytes.empty()) return;
  if constexpr (kHasCuda) {
    if (cuda_ != nullptr) return cuda_->upload(to.raw(), bytes.data(), to.nbytes());
  }
  std::memcpy(to.raw(), bytes.data(), bytes.size());
}

void Exec::synchronize() {
  if constexpr (kHasCuda) {
    if (cuda_ != nullptr) cuda_->synchronize();
  }
}

}  // namespace megalith
