#pragma once
// defines: TrainLine

#include <chrono>
#include <cstdint>
#include <string>

namespace megalith {

/// The live line of a training run on stderr: redrawn on a terminal, a plain line every `log_interval` steps
/// elsewhere, nothing below log level info. Call it from one thread.
///
///     step   120/2000   6%  loss 4.3127  lr 2.9e-04  norm 1.21  12.3K tokens/s  ETA 3m12s
class TrainLine {
 public:
  struct Options {
    int64_t total_steps = 0;
    int64_t start_step = 0;  ///< steps that were done before (a resumed run)
    int64_t log_interval = 10;
  };
  struct Values {
    int64_t step = 0;
    double loss = 0;
    double lr = 0;
    double grad_norm = 0;
    double tokens_per_second = 0;
  };
  explicit TrainLine(Options options);
  ~TrainLine();

  void update(const Values& values);
  /// A line of its own above the live one: an evaluation, a checkpoint.
  void note(const std::string& text);
  /// Ends the live line.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(const Values& values) const;

  Options options_;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point last_drawn_{};
  std::string shown_;
  bool enabled_ = false;
  bool terminal_ = false;
};

/// The line as text; `eta_s` < 0 when unknown.
std::string train_line_text(const TrainLine::Values& values, int64_t total_steps, double eta_s);

}  // namespace megalith
