#include "megalith/base/progress.h"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "megalith/base/log.h"
#include "megalith/base/terminal.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {
constexpr double kTerminalInterval_s = 0.1;
}  // namespace

Progress::Progress(Options options)
    : options_(std::move(options)),
      done_(options_.start),
      enabled_(log_enabled(LogLevel::kInfo)),
      terminal_(stderr_is_terminal()) {}

Progress::~Progress() {
  if (enabled_ && terminal_ && drawn_ && !finished_) std::fputc('\n', stderr);
}

double Progress::elapsed_s() const {
  return std::chrono::duration<double>(Clock::now() - begin_).count();
}

double Progress::eta_s() const {
  const int64_t fresh = done_ - options_.start;
  if (options_.total <= 0 || fresh <= 0) return -1;
  return elapsed_s() * static_cast<double>(options_.total - done_) / static_cast<double>(fresh);
}

void Progress::update(int64_t done, std::string_view detail) {
  done_ = done;
  detail_ = detail;
  if (!enabled_) return;
  const double interval = terminal_ ? kTerminalInterval_s : options_.plain_interval_s;
  const auto now = Clock::now();
  const auto since = drawn_ ? last_drawn_ : begin_;
  if (terminal_ && !drawn_) return draw(false);
  if (std::chrono::duration<double>(now - since).count() >= interval) draw(false);
}

void Progress::clear() {
  if (!terminal_ || !drawn_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (enabled_) draw(true);
}

std::string Progress::line() const {
  const double elapsed = std::max(elapsed_s(), 1e-9);
  const double rate = static_cast<double>(done_ - options_.start) / elapsed;
  std::string text = options_.title;
  if (options_.total > 0) {
    text +=
        fmt::format(" {:3.0f}%", 100.0 * static_cast<double>(done_) / static_cast<double>(options_.total));
  }
  text += options_.total > 0 ? fmt::format(" {}/{}", human_count(static_cast<double>(done_)),
                                           human_count(static_cast<double>(options_.total)))
                             : fmt::format(" {}", human_count(static_cast<double>(done_)));
  if (!options_.unit.empty()) text += fmt::format(" {0}, {1} {0}/s", options_.unit, human_count(rate));
  if (!detail_.empty()) text += fmt::format(", {}", detail_);
  if (finished_) {
    text += fmt::format(", {}", human_duration(elapsed));
  } else if (eta_s() >= 0) {
    text += fmt::format(", ETA {}", human_duration(eta_s()));
  }
  return text;
}

void Progress::draw(bool last) {
  std::string text = line();
  if (terminal_) {
    const auto width = static_cast<size_t>(std::max(20, terminal_width() - 1));
    if (text.size() > width) text.resize(width);
    std::fprintf(stderr, "\r\033[K%s%s", text.c_str(), last ? "\n" : "");
  } else {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
  std::fflush(stderr);
  last_drawn_ = Clock::now();
  drawn_ = true;
}

}  // namespace megalith
