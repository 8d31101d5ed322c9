#pragma once
// defines: Metric, MetricsLog, MetricSeries, read_metrics

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace megalith {

/// One number of a line, in the order in which it is written. NaN and infinities are written as null.
struct Metric {
  std::string name;
  double value;
};

/// An append-only JSONL file of a training run: one object per line, `{"step": 12, "loss": 3.25, ...}`. Every
/// line reaches the file system before the next step begins, so that a killed run loses at most the line
/// being written.
class MetricsLog {
 public:
  /// Lines of steps after `resume_step` are dropped (a run that continues from a checkpoint writes them
  /// again), and so is a torn last line. resume_step 0 begins a new file.
  MetricsLog(std::filesystem::path path, int64_t resume_step);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;

  void write(int64_t step, const std::vector<Metric>& metrics);

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// Values of one metric: (step, value), by ascending step.
using MetricSeries = std::vector<std::pair<int64_t, double>>;

/// All metrics of a file by name. A torn last line is ignored; any other line that is not an object with an
/// integer `step` throws Error naming file and line. Values that are not numbers are skipped; of two lines
/// with the same step and metric the later counts.
std::map<std::string, MetricSeries> read_metrics(const std::filesystem::path& path);

}  // namespace megalith
