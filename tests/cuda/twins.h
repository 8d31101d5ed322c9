#pragma once
// defines: Twins

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "megalith/ops/elementwise.h"

#include "tests/ops/conformance.h"

namespace megalith::testing {

/// The same call on the CPU and on the GPU: tensors come in pairs of equal values and layouts, and the test
/// compares what the calls leave in them.
class Twins {
 public:
  struct Pair {
    Tensor cpu, gpu;
  };

  Exec& cpu() { return cpu_; }
  Exec& gpu() { return gpu_; }

  Pair random(const Shape& shape, DType dtype, uint64_t seed,
              conformance::Layout layout = conformance::Layout::kContiguous) {
    return to_gpu(conformance::random_tensor(cpu_, shape, dtype, seed, layout), layout);
  }
  Pair poisoned(const Shape& shape, DType dtype,
                conformance::Layout layout = conformance::Layout::kContiguous) {
    return to_gpu(conformance::poisoned_tensor(cpu_, shape, dtype, layout), layout);
  }
  Pair ids(int64_t count, int64_t limit, uint64_t seed) {
    return to_gpu(conformance::ids_tensor(cpu_, count, limit, seed), conformance::Layout::kContiguous);
  }
  Pair of(const std::vector<double>& values, const Shape& shape, DType dtype) {
    return to_gpu(conformance::tensor_of(cpu_, values, shape, dtype), conformance::Layout::kContiguous);
  }

  /// Padded rows keep their padding, NaN, on the GPU too, so that a kernel that reads or writes it is seen.
  Pair to_gpu(const Tensor& host, conformance::Layout layout) {
    std::vector<std::byte> staging;
    if (layout == conformance::Layout::kContiguous) {
      const Tensor tensor = gpu_.empty(host.shape(), host.dtype());
      gpu_.upload(bytes_on_host(host, staging), tensor);
      return {host, tensor};
    }
    constexpr int64_t kPadding = 3;
    Shape wide = host.shape();
    wide.set(-1, host.dim(-1) + 2 * kPadding);
    const Tensor base = conformance::poisoned_tensor(cpu_, wide, host.dtype());
    copy(host, base.slice(-1, kPadding, kPadding + host.dim(-1)), cpu_);
    const Tensor tensor = gpu_.empty(wide, host.dtype());
    gpu_.upload(bytes_on_host(base, staging), tensor);
    return {host, tensor.slice(-1, kPadding, kPadding + host.dim(-1))};
  }

  /// Both hold a result of `terms` sums; the CPU's own error is as large as the GPU's.
  static void expect_close(const Pair& pair, int64_t terms, double magnitude, const std::string& what) {
    conformance::Tolerance allowed = conformance::tolerance(pair.cpu.dtype(), terms, magnitude);
    allowed.relative *= 2;
    allowed.absolute *= 2;
    conformance::expect_close(pair.gpu, conformance::values_of(pair.cpu), allowed, what);
  }
  static void expect_equal(const Pair& pair, const std::string& what) {
    EXPECT_EQ(conformance::values_of(pair.gpu), conformance::values_of(pair.cpu)) << what;
  }

 private:
  Exec cpu_{{.num_threads = 4}};
  Exec gpu_{{.device = {DeviceKind::kCuda, 0}}};
};

/// Whole vectors, odd sizes, one column, more columns than a block has threads for.
inline const std::vector<Shape>& row_shapes() {
  static const std::vector<Shape> shapes = {{4, 64},    {3, 37},   {5, 1},    {0, 16},
                                            {700, 129}, {2, 2048}, {3, 20000}};
  return shapes;
}

}  // namespace megalith::testing
