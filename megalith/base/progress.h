#pragma once
// defines: Progress

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace megalith {

/// Progress of a long job on stderr: one line that is redrawn on a terminal, a plain line every ten seconds
/// (and at the end) elsewhere, nothing below log level info. Call it from one thread.
///
///     Progress progress({.title = "tokenize", .total = bytes, .unit = "B"});
///     progress.update(done, "12 documents");
///     progress.finish();
class Progress {
 public:
  struct Options {
    std::string title;
    int64_t total = 0;  ///< 0: unknown, no ETA
    int64_t start = 0;  ///< work that was done before (a resumed run)
    std::string unit;   ///< "B", "tokens", ...: rates are printed in it per second
    double plain_interval_s = 10;
  };
  explicit Progress(Options options);
  ~Progress();

  /// `done` counts from 0 to total; `detail` is shown behind the bar.
  void update(int64_t done, std::string_view detail = {});
  /// Wipes the line from a terminal, so that a result can be printed in its place; update() draws it again.
  void clear();
  /// Draws the final state and ends the line.
  void finish();

  double elapsed_s() const;
  /// Seconds left at the mean rate so far; negative while unknown.
  double eta_s() const;

 private:
  using Clock = std::chrono::steady_clock;
  std::string line() const;
  void draw(bool last);

  Options options_;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point last_drawn_{};
  int64_t done_ = 0;
  std::string detail_;
  bool enabled_ = false;
  bool terminal_ = false;
  bool drawn_ = false;
  bool finished_ = false;
};

}  // namespace megalith
