#pragma once
// defines: BatchLoader, BatchLoaderOptions

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "megalith/data/host_batch.h"
#include "megalith/data/sample_dataset.h"

namespace megalith {

struct BatchLoaderOptions {
  int64_t micro_batch_size = 1;
  int64_t data_parallel_rank = 0;
  int64_t data_parallel_size = 1;
  /// Samples that training has seen, over all ranks: all the state that a resumed run needs.
  int64_t consumed_samples = 0;
  /// Micro-batches made ahead.
  int64_t prefetch = 2;
  MaskOptions masks;
};

/// Serves the micro-batches of one data-parallel rank in order, made ahead by a thread of its own. From
/// consumed_samples on, samples go out in chunks of micro_batch_size * data_parallel_size, of which rank r
/// takes [r * micro_batch_size, (r + 1) * micro_batch_size); a last, partial chunk is dropped (Megatron's
/// "single" sampler). The order depends on nothing but the data set and the options.
class BatchLoader {
 public:
  BatchLoader(std::shared_ptr<const SampleDataset> dataset, const BatchLoaderOptions& options);
  ~BatchLoader();
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  /// The next micro-batch into `batch`, whose memory is used again for later ones; false at the end of the
  /// data. An error of the thread is thrown here, at the micro-batch that it hit, and at every call after.
  /// Call it from one thread.
  bool next(HostBatch& batch);

 private:
  void produce();
  void make(int64_t first_sample, HostBatch& batch);

  const std::shared_ptr<const SampleDataset> dataset_;
  const BatchLoaderOptions options_;
  std::vector<int32_t> text_;  // the thread's scratch, one sample

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<HostBatch> ready_;
  std::vector<HostBatch> spare_;
  std::exception_ptr error_;
  bool finished_ = false;
  bool stopping_ = false;
  std::jthread thread_;
};

}  // namespace megalith
