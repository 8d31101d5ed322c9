#pragma once
// defines: ExecOptions, StorageList, Exec

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "megalith/core/cuda/cuda_context.h"
#include "megalith/core/device.h"
#include "megalith/core/exec_slots.h"
#include "megalith/core/isa.h"
#include "megalith/core/memory/ledger.h"
#include "megalith/core/memory/pool.h"
#include "megalith/core/memory/scratch.h"
#include "megalith/core/rng.h"
#include "megalith/core/tensor.h"

namespace megalith {

struct ExecOptions {
  Device device;
  int num_threads = 0;  ///< for CPU kernels; 0: OMP_NUM_THREADS, else every core of the affinity mask
  uint64_t seed = 1234;
  int64_t memory_limit_bytes = 0;  ///< 0: what the machine has
};

/// Storages that do not live longer for being listed.
using StorageList = std::vector<std::weak_ptr<Storage>>;

/// Everything one rank computes with: its device, threads, memory and random streams. Made in the rank's own
/// thread, passed to every op, never global, so that ranks can be threads of one process.
class Exec {
 public:
  explicit Exec(const ExecOptions& options = {});
  Exec(const Exec&) = delete;
  Exec& operator=(const Exec&) = delete;

  Device device() const { return device_; }
  int num_threads() const { return num_threads_; }
  /// What CPU kernels run with.
  Isa isa() const { return isa_; }
  RngKey rng() const { return rng_; }

  MemoryLedger& ledger() { return ledger_; }
  Pool& pool() { return pool_; }
  Scratch& scratch() { return scratch_; }
  ExecSlots& slots() { return slots_; }
  /// Only for a device that is_cuda().
  CudaContext& cuda() const {
    MG_ASSERT(cuda_ != nullptr);
    return *cuda_;
  }

  /// From now on what empty() makes is listed there; null: nowhere. Returns where it was until now.
  StorageList* list_storages(StorageList* list) { return std::exchange(storage_list_, list); }

  /// On this rank's device; contents undefined.
  Tensor empty(const Shape& shape, DType dtype);
  Tensor zeros(const Shape& shape, DType dtype);
  /// A copy of host values.
  template <class T>
  Tensor from_host(std::span<const T> values, const Shape& shape) {
    return copy_from_host(values.data(), static_cast<int64_t>(values.size()), shape, dtype_of<T>);
  }
  /// Fills a contiguous tensor of this device with the elements as they lie in `bytes`.
  void upload(std::span<const std::byte> bytes, const Tensor& to);
  /// Waits until this rank's device has done all that was asked of it.
  void synchronize();

 private:
  Tensor copy_from_host(const void* values, int64_t count, const Shape& shape, DType dtype);

  Device device_;
  int num_threads_;
  Isa isa_ = best_isa();
  RngKey rng_;
  std::shared_ptr<CudaContext> cuda_;  // of a GPU, else null
  MemoryLedger ledger_;
  Pool pool_;
  Scratch scratch_;
  ExecSlots slots_;
  StorageList* storage_list_ = nullptr;
};

}  // namespace megalith
