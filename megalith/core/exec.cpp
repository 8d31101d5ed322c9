#include "megalith/core/exec.h"

#include <cstdlib>
#include <cstring>

#include "megalith/base/parallel.h"

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

}  // namespace

Exec::Exec(const ExecOptions& options)
    : device_(options.device),
      num_threads_(choose_threads(options.num_threads)),
      rng_{options.seed, 0},
      ledger_(options.memory_limit_bytes),
      pool_(options.device, ledger_),
      scratch_(pool_) {
  MG_CHECK(device_.is_cpu(), "device {}: this build has no CUDA; allowed: cpu", device_.name());
#ifdef _OPENMP
  omp_set_num_threads(num_threads_);  // of this thread only
#endif
}

Tensor Exec::empty(const Shape& shape, DType dtype) {
  const int64_t bytes = shape.numel() * static_cast<int64_t>(size_of(dtype));
  return Tensor(std::make_shared<Storage>(pool_, device_, bytes), dtype, shape);
}

Tensor Exec::zeros(const Shape& shape, DType dtype) {
  Tensor tensor = empty(shape, dtype);
  std::memset(tensor.raw(), 0, static_cast<size_t>(tensor.nbytes()));
  return tensor;
}

Tensor Exec::copy_from_host(const void* values, int64_t count, const Shape& shape, DType dtype) {
  MG_CHECK(count == shape.numel(), "{} values do not fill shape {}", count, shape.str());
  Tensor tensor = empty(shape, dtype);
  if (count > 0) std::memcpy(tensor.raw(), values, static_cast<size_t>(tensor.nbytes()));
  return tensor;
}

}  // namespace megalith
