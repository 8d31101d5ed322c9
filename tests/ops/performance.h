#pragma once
// defines: performance_wanted, measure_seconds, report_bandwidth

#include <functional>
#include <string>

namespace megalith::conformance {

/// MEGALITH_PERF=1: the performance tests run; without it they are skipped.
bool performance_wanted();

/// Seconds of one call: the fastest of about half a second of them, since whatever else runs on the machine
/// only adds to it.
double measure_seconds(const std::function<void()>& call);

/// Prints one line: GB/s (bytes read and written per call over its time) and the share of what memcpy moves
/// on `num_threads` threads at the same number of bytes, measured at once.
void report_bandwidth(const std::string& name, int64_t bytes, int num_threads,
                      const std::function<void()>& call);

}  // namespace megalith::conformance
