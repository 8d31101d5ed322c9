#include "megalith/data/batch_loader.h"

#include <utility>

#include "megalith/base/error.h"

namespace megalith {

BatchLoader::BatchLoader(std::shared_ptr<const SampleDataset> dataset, const BatchLoaderOptions& options)
    : dataset_(std::move(dataset)), options_(options), text_(static_cast<size_t>(dataset_->text_length())) {
  MG_CHECK(options_.micro_batch_size >= 1, "micro_batch_size is {}, it must be at least 1",
           options_.micro_batch_size);
  MG_CHECK(options_.data_parallel_rank >= 0 && options_.data_parallel_rank < options_.data_parallel_size,
           "data-parallel rank {} is not below the data-parallel size {}", options_.data_parallel_rank,
           options_.data_parallel_size);
  MG_CHECK(options_.consumed_samples >= 0, "consumed_samples is {}, it must be at least 0",
           options_.consumed_samples);
  MG_CHECK(options_.prefetch >= 1, "prefetch is {}, it must be at least 1", options_.prefetch);
  thread_ = std::jthread([this] { produce(); });
}

BatchLoader::~BatchLoader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void BatchLoader::make(int64_t first_sample, HostBatch& batch) {
  resize_batch(batch, options_.micro_batch_size, dataset_->seq_length());
  batch.first_sample = first_sample;
  const int64_t begin = first_sample + options_.data_parallel_rank * options_.micro_batch_size;
  for (int64_t row = 0; row < batch.batch; ++row) {
    dataset_->read(begin + row, text_);
    fill_row(batch, row, text_, options_.masks);
  }
  finish_batch(batch);
}

void BatchLoader::produce() {
  const int64_t chunk = options_.micro_batch_size * options_.data_parallel_size;
  const auto capacity = static_cast<size_t>(options_.prefetch);
  std::exception_ptr error;
  try {
    for (int64_t first = options_.consumed_samples; first + chunk <= dataset_->size(); first += chunk) {
      HostBatch batch;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopping_ || ready_.size() < capacity; });
        if (stopping_) return;
        if (!spare_.empty()) {
          batch = std::move(spare_.back());
          spare_.pop_back();
        }
      }
      make(first, batch);
      {
        const std::lock_guard lock(mutex_);
        ready_.push_back(std::move(batch));
      }
      changed_.notify_all();
    }
  } catch (...) {
    error = std::current_exception();
  }
  {
    const std::lock_guard lock(mutex_);
    error_ = error;
    finished_ = true;
  }
  changed_.notify_all();
}

bool BatchLoader::next(HostBatch& batch) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return finished_ || !ready_.empty(); });
  if (ready_.empty()) {
    if (error_) std::rethrow_exception(error_);
    return false;
  }
  std::swap(batch, ready_.front());
  spare_.push_back(std::move(ready_.front()));
  ready_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return true;
}

}  // namespace megalith
