#include "megalith/report/train_line.h"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "megalith/base/log.h"
#include "megalith/base/terminal.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {
constexpr double kRedrawInterval_s = 0.1;
}  // namespace

TrainLine::TrainLine(Options options)
    : options_(options), enabled_(log_enabled(LogLevel::kInfo)), terminal_(stderr_is_terminal()) {}

TrainLine::~TrainLine() {
  finish();
}

std::string train_line_text(const TrainLine::Values& values, int64_t total_steps, double eta_s) {
  const std::string total = fmt::format("{}", total_steps);
  std::string text = fmt::format("step {:>{}}/{}", values.step, total.size(), total);
  if (total_steps > 0) text += fmt::format(" {:3}%", 100 * values.step / total_steps);
  text += fmt::format("  loss {:.4f}  lr {:.2e}  norm {:.3f}  {} tokens/s", values.loss, values.lr,
                      values.grad_norm, human_count(values.tokens_per_second));
  if (eta_s >= 0 && values.step < total_steps) text += "  ETA " + human_duration(eta_s);
  return text;
}

std::string TrainLine::line(const Values& values) const {
  const double elapsed_s = std::chrono::duration<double>(Clock::now() - begin_).count();
  const int64_t fresh = values.step - options_.start_step;
  const double eta_s = fresh <= 0 ? -1
                                  : elapsed_s * static_cast<double>(options_.total_steps - values.step) /
                                        static_cast<double>(fresh);
  return train_line_text(values, options_.total_steps, eta_s);
}

void TrainLine::update(const Values& values) {
  if (!enabled_) return;
  const bool is_last = values.step >= options_.total_steps;
  if (!terminal_) {
    const int64_t interval = std::max<int64_t>(1, options_.log_interval);
    const bool is_first = values.step == options_.start_step + 1;
    if (!is_last && !is_first && values.step % interval != 0) return;
    std::fprintf(stderr, "%s\n", line(values).c_str());
    std::fflush(stderr);
    return;
  }
  const auto now = Clock::now();
  if (!is_last && std::chrono::duration<double>(now - last_drawn_).count() < kRedrawInterval_s) return;
  last_drawn_ = now;
  shown_ = line(values);
  const auto width = static_cast<size_t>(std::max(20, terminal_width() - 1));
  if (shown_.size() > width) shown_.resize(width);
  std::fprintf(stderr, "\r\033[K%s", shown_.c_str());
  std::fflush(stderr);
}

void TrainLine::note(const std::string& text) {
  if (!enabled_) return;
  if (terminal_ && !shown_.empty()) {
    std::fprintf(stderr, "\r\033[K%s\n%s", text.c_str(), shown_.c_str());
  } else {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
  std::fflush(stderr);
}

void TrainLine::finish() {
  if (shown_.empty()) return;
  std::fputc('\n', stderr);
  std::fflush(stderr);
  shown_.clear();
}

}  // namespace megalith
