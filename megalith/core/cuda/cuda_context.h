#pragma once
// defines: CudaLimits, CudaContext, cuda_device_count, cuda_map, cuda_unmap, cuda_map_host,
// cuda_unmap_host, CudaMemory, cuda_memory, cuda_copy_to_host

#include <cstddef>
#include <cstdint>
#include <string>

// cudaStream_t and cudaEvent_t point to these: a build without CUDA reads this header too.
struct CUstream_st;
struct CUevent_st;

namespace megalith {

/// What kernels choose by.
struct CudaLimits {
  std::string name;
  int sm_count = 0;
  int arch = 0;  ///< 90 for compute capability 9.0
  int64_t shared_bytes_per_block = 0;
  int64_t l2_bytes = 0;
  int64_t memory_bytes = 0;
};

/// One rank's hold on a GPU: its stream, on which everything runs in order, a second one for communication
/// beside it, and pinned memory through which host values travel. Made in the rank's thread, whose current
/// device it sets.
class CudaContext {
 public:
  /// Throws Error when there is no such GPU, no driver, or one too old for this build.
  explicit CudaContext(int device_index);
  ~CudaContext();
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  CUstream_st* stream() const { return stream_; }
  /// Of high priority: its small kernels start before the next large one of stream(). The two know of each
  /// other by events alone.
  CUstream_st* comm_stream() const { return comm_stream_; }
  const CudaLimits& limits() const { return limits_; }

  /// Copies host values behind what is on the stream, and may return before the copy is done: `from` may
  /// change at once.
  void upload(void* to, const void* from, int64_t bytes);
  /// Copies to the host and waits for it.
  void download(void* to, const void* from, int64_t bytes);
  void clear(void* to, int64_t bytes);
  void synchronize();

 private:
  // Two halves of pinned memory: one is filled while the copies out of the other run.
  static constexpr int64_t kHalfBytes = int64_t{8} << 20;
  void change_half();

  CudaLimits limits_;
  CUstream_st* stream_ = nullptr;
  CUstream_st* comm_stream_ = nullptr;
  std::byte* staging_ = nullptr;
  CUevent_st* half_is_read_[2] = {};
  int half_ = 0;
  int64_t used_in_half_ = 0;
};

/// GPUs that this process can use; 0 also where there is no driver.
int cuda_device_count();

/// Device memory, aligned to 256 bytes; null when the device has not enough.
std::byte* cuda_map(int device_index, int64_t bytes);
void cuda_unmap(int device_index, std::byte* data);

/// Pinned host memory, which the device reaches under the same addresses; throws Error when refused.
std::byte* cuda_map_host(int device_index, int64_t bytes);
void cuda_unmap_host(int device_index, std::byte* data);

struct CudaMemory {
  int64_t free_bytes = 0, total_bytes = 0;
};
CudaMemory cuda_memory(int device_index);

/// Waits for all work of the device, then copies.
void cuda_copy_to_host(int device_index, void* to, const void* from, int64_t bytes);

}  // namespace megalith
