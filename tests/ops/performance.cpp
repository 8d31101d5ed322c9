#include "tests/ops/performance.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string_view>
#include <vector>

namespace megalith::conformance {

bool performance_wanted() {
  const char* wanted = std::getenv("MEGALITH_PERF");
  return wanted != nullptr && std::string_view(wanted) == "1";
}

double measure_seconds(const std::function<void()>& call) {
  using Clock = std::chrono::steady_clock;
  constexpr double kBudget_s = 0.4;
  call();
  double fastest = std::numeric_limits<double>::infinity();
  const auto begin = Clock::now();
  while (std::chrono::duration<double>(Clock::now() - begin).count() < kBudget_s) {
    const auto start = Clock::now();
    call();
    fastest = std::min(fastest, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return fastest;
}

void report_bandwidth(const std::string& name, int64_t bytes, int num_threads,
                      const std::function<void()>& call) {
  const auto half = static_cast<size_t>(bytes / 2);
  std::vector<char> from(half, 1), to(half, 2);
  const size_t part = half / static_cast<size_t>(num_threads);
  const double copy_s = measure_seconds([&] {
#pragma omp parallel for num_threads(num_threads) schedule(static)
    for (int thread = 0; thread < num_threads; ++thread) {
      const size_t offset = static_cast<size_t>(thread) * part;
      std::memcpy(to.data() + offset, from.data() + offset, part);
    }
  });
  const double op_s = measure_seconds(call);
  const double scale = static_cast<double>(bytes) * 1e-9;
  std::printf("%-44s %8.1f us %7.2f GB/s, memcpy %7.2f GB/s: %3.0f%%\n", name.c_str(), op_s * 1e6,
              scale / op_s, scale / copy_s, 100 * copy_s / op_s);
  std::fflush(stdout);
}

}  // namespace megalith::conformance
