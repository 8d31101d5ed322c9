#pragma once
// defines: hardware_threads, parallel_for

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace megalith {

/// Threads this process may use: the affinity mask, as OMP_NUM_THREADS-less programs see it.
int hardware_threads();

/// Calls work(index) for every index in [0, count) on `num_threads` threads, handing out indices one by one;
/// the first exception is thrown again here. For coarse work (files, chunks of text); kernels use OpenMP.
template <class Work>
void parallel_for(int64_t count, int num_threads, const Work& work) {
  if (num_threads <= 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) work(i);
    return;
  }
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;
  auto run = [&] {
    for (int64_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        const std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
        next = count;
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int t = 1; t < num_threads; ++t) threads.emplace_back(run);
    run();
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace megalith
