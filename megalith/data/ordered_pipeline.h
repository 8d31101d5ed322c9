#pragma once
// defines: ordered_pipeline

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace megalith {

/// Works on items with several threads and hands the results on in the order of the items.
///   source() -> std::optional<Item>   the next item, nullopt at the end; called by one thread at a time
///   work(Item, thread) -> Result      on any of `num_threads` threads; thread says which, from 0
///   sink(Result) -> bool              on the calling thread, in order; false stops early
/// At most 4 results a thread wait for their turn. What source or work throws is thrown here when its turn
/// comes, so that the first error in the order of the items is the one that is seen, for any number of
/// threads.
template <class Source, class Work, class Sink>
void ordered_pipeline(int num_threads, Source source, const Work& work, Sink sink) {
  using Item = typename decltype(source())::value_type;
  using Result = decltype(work(std::declval<Item>(), 0));
  struct Outcome {
    std::optional<Result> result;  // nullopt and no error: the end
    std::exception_ptr error;
  };
  std::mutex source_mutex;  // taken before `mutex`
  std::mutex mutex;
  std::condition_variable changed;
  std::map<int64_t, Outcome> waiting;
  int64_t next_item = 0;  // guarded by source_mutex
  bool source_ended = false;
  int64_t next_result = 0;  // guarded by mutex
  bool stopping = false;
  const int64_t window = 4 * int64_t{num_threads};

  auto run = [&](int thread) {
    while (true) {
      Outcome outcome;
      std::optional<Item> item;
      int64_t number = 0;
      {
        const std::lock_guard source_lock(source_mutex);
        if (source_ended) return;
        number = next_item++;
        {
          std::unique_lock lock(mutex);
          changed.wait(lock, [&] { return stopping || number < next_result + window; });
          if (stopping) return;
        }
        try {
          item = source();
        } catch (...) {
          outcome.error = std::current_exception();
        }
        source_ended = !item;
      }
      if (item) {
        try {
          outcome.result = work(*std::move(item), thread);
        } catch (...) {
          outcome.error = std::current_exception();
        }
      }
      {
        const std::lock_guard lock(mutex);
        waiting.emplace(number, std::move(outcome));
      }
      changed.notify_all();
    }
  };

  struct Stop {  // also when sink throws
    std::mutex& mutex;
    std::condition_variable& changed;
    bool& stopping;
    ~Stop() {
      {
        const std::lock_guard lock(mutex);
        stopping = true;
      }
      changed.notify_all();
    }
  };
  std::vector<std::jthread> threads;
  const Stop stop{mutex, changed, stopping};
  for (int t = 0; t < num_threads; ++t) threads.emplace_back(run, t);
  while (true) {
    Outcome outcome;
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return waiting.contains(next_result); });
      outcome = std::move(waiting.extract(next_result).mapped());
      ++next_result;
    }
    changed.notify_all();
    if (outcome.error) std::rethrow_exception(outcome.error);
    if (!outcome.result || !sink(*std::move(outcome.result))) return;
  }
}

}  // namespace megalith
